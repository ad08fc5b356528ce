"""Processes on this machine that join, each with a CPU device."""

from collections.abc import Callable
import contextlib
import multiprocessing
import os

import jax

from hermesflow_jax.jobs.setup import process_group
from hermesflow_jax.runtime import open_port

# Seconds to start: a core imports the libraries of several processes.
_JOIN_SECONDS = 120.0
# Seconds to end, after the result.
_END_SECONDS = 30.0


def run(count: int, function: Callable, *values) -> list:
  """Calls a function in joined processes; returns their results in order.

  Args:
    count: process count.
    function: a module's function, so that it can be pickled.
    *values: its arguments.

  Raises:
    ValueError: a process ends with an error.
  """
  context = multiprocessing.get_context('spawn')
  with contextlib.closing(open_port.listen('127.0.0.1', 0)) as listening:
    address = '{}:{}'.format(*listening.getsockname())
  children, results = [], []
  try:
    for number in range(count):
      results.append(context.Pipe(duplex=False))
      child = context.Process(
        target=_run,
        args=(results[-1][1], address, number, count, function, values),
      )
      child.start()
      results[-1][1].close()
      children.append(child)
    values = [_receive(receiver) for receiver, _ in results]
    for child in children:
      child.join(_END_SECONDS)
    return values
  finally:
    for child, (receiver, _) in zip(children, results):
      # After an error the others would wait for each other.
      child.kill()
      child.join()
      receiver.close()


def _receive(receiver):
  try:
    error, value = receiver.recv()
  except EOFError:
    error, value = 'it ended without a result', None
  if error:
    raise ValueError(f'a process must return a result, got an error: {error}')
  return value


def _run(sender, address, number, count, function, values):
  """Joins the other processes, and sends (error, result)."""
  # Before JAX looks for devices.
  os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=1'
  jax.config.update('jax_platforms', 'cpu')
  try:
    process_group.join(address, number, count, _JOIN_SECONDS)
    sender.send(('', function(*values)))
  except Exception as error:
    sender.send((' '.join(f'{type(error).__name__}: {error}'.split()), None))
