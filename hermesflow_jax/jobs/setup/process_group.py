"""Several processes that run a job together."""

import jax

from hermesflow_jax.jobs.setup import coordinator_address
from hermesflow_jax.runtime import interrupts
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import stop_handlers
from hermesflow_jax.runtime import terminal

# Seconds to wait for all processes to join.
_JOIN_SECONDS = 120


def join(coordinator: str, process: int, count: int) -> terminal.Console:
  """Joins the other processes.

  Args:
    coordinator: 'host:port' of the first process, or 'auto'.
    process: process number.
    count: process count.

  Returns:
    A console that prints in the first process and is silent in the others.

  Raises:
    OSError: the first process does not answer.
  """
  arguments = ()
  if coordinator != 'auto':
    arguments = coordinator, count, process
    if process:
      # Without a coordinator JAX would end the process with a core dump.
      processes.wait_for_coordinator(
        *coordinator_address.parse(coordinator), seconds=_JOIN_SECONDS
      )
  # If a process dies, the others learn it within the heartbeat's seconds.
  jax.distributed.initialize(
    *arguments,
    initialization_timeout=_JOIN_SECONDS,
    heartbeat_timeout_seconds=20,
    shutdown_timeout_seconds=10,
  )
  if processes.single_process():
    # JAX has replaced the signal handlers to inform other processes.
    stop_handlers.install()
  else:
    interrupts.forward_interrupts()
  if processes.is_first():
    return terminal.terminal()
  return terminal.silent()
