"""Several processes that run a job together."""

import contextlib
import os
import threading
import time

import jax

from hermesflow_jax.jobs.setup import cluster_port
from hermesflow_jax.jobs.setup import coordinator_address
from hermesflow_jax.jobs.setup import rendezvous
from hermesflow_jax.runtime import entry_point
from hermesflow_jax.runtime import interrupts
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import stop_handlers
from hermesflow_jax.runtime import terminal

# Seconds to wait for all processes: started by hand, and by a cluster.
JOIN_SECONDS, CLUSTER_SECONDS = 12.0, 120.0


def join(
  coordinator: str, process: int, count: int, seconds: float | None = None
) -> terminal.Console:
  """Joins the other processes.

  Args:
    coordinator: 'host:port' of the first process, or 'auto'.
    process: process number.
    count: process count.
    seconds: longest time to wait; None for 12 s, or 120 s with 'auto'.

  Returns:
    A console that prints in the first process and is silent in the others.

  Raises:
    ValueError: the processes do not fit together, or no cluster is known.
    OSError: the port is taken, the host is unknown, or a process is absent.
  """
  if coordinator == 'auto':
    seconds = seconds or CLUSTER_SECONDS
    arguments = ()
  else:
    seconds = seconds or JOIN_SECONDS
    host, port = coordinator_address.parse(coordinator)
    rendezvous.meet(host, port, process, count, seconds)
    arguments = coordinator, count, process
    if process:
      # Now JAX listens there.
      rendezvous.connect(host, port, time.monotonic() + seconds).close()
  with _deadline(seconds):
    if not arguments:
      cluster_port.check(seconds)
    _initialize(arguments, seconds)
  if processes.single_process():
    # JAX has replaced the signal handlers to inform other processes.
    stop_handlers.install()
  else:
    interrupts.forward_interrupts()
  if processes.is_first():
    return terminal.terminal()
  return terminal.silent()


def _initialize(arguments, seconds) -> None:
  try:
    # If a process dies, the others learn it within the heartbeat's seconds.
    jax.distributed.initialize(
      *arguments,
      # JAX would end the process with a core dump: `_deadline` comes first.
      initialization_timeout=int(seconds) + 60,
      heartbeat_timeout_seconds=20,
      shutdown_timeout_seconds=10,
    )
  except ValueError as error:
    if arguments:
      raise
    raise ValueError(
      "coordinator must be host:port where JAX knows no cluster, got 'auto': "
      f'{error}'
    ) from error


@contextlib.contextmanager
def _deadline(seconds: float):
  """Ends the process with an error line if the context takes too long."""

  def end():
    entry_point.print_error(
      f'error: the processes did not join within {seconds:g} s; start all '
      'processes, or give all a larger --join_seconds'
    )
    os._exit(1)

  timer = threading.Timer(seconds, end)
  timer.daemon = True
  timer.start()
  try:
    yield
  finally:
    timer.cancel()
