"""Several processes that run one program, each with a part of the devices.

All make the same calls in the same order, and hold the same numbers on the
host. The first alone writes files and speaks. What depends on files, which one
process may see before another, is asked of the first, and the others are told.
"""

from collections.abc import Callable
import json
import socket
import time

import jax
from jax.experimental import multihost_utils
import numpy as np

# How the first process fared.
_OK, _WRONG, _FAILED = 'ok', 'wrong', 'failed'


def single_process() -> bool:
  """Returns whether there is one process."""
  return jax.process_count() == 1


def is_first() -> bool:
  """Returns whether this process writes and speaks."""
  return jax.process_index() == 0


def wait_for_coordinator(host: str, port: int, seconds: float) -> None:
  """Returns when something listens there.

  Raises:
    OSError: nothing did within these seconds.
  """
  end = time.monotonic() + seconds
  while True:
    try:
      socket.create_connection((host, port), timeout=5).close()
      return
    except OSError as error:
      if time.monotonic() > end:
        raise OSError(
          f'the first process does not answer at {host}:{port}: '
          f'{error.strerror or error}'
        ) from error
    time.sleep(0.2)


def broadcast_from_first(ask: Callable):
  """Returns what `ask` returns in the first process, in all of them.

  Args:
    ask: returns JSON types; called by the first process alone.

  Raises:
    ValueError, OSError: what `ask` raised, of its own kind in the first
      process; in the others a ValueError if it is one, else an OSError.
  """
  if single_process():
    return ask()
  answer, error = None, None
  if is_first():
    try:
      answer = [_OK, ask()]
    except Exception as caught:
      kind = _WRONG if isinstance(caught, ValueError) else _FAILED
      answer, error = [kind, str(caught)], caught
  kind, value = json.loads(_told(json.dumps(answer)))
  if error is not None:
    raise error
  if kind != _OK:
    raise (ValueError if kind == _WRONG else OSError)(value)
  return value


def _told(text: str) -> str:
  """The text of the first process."""
  data = np.frombuffer(text.encode(), np.uint8)
  size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
  padded = np.zeros(size, np.uint8)
  padded[: len(data)] = data[:size]
  return bytes(
    np.asarray(multihost_utils.broadcast_one_to_all(padded))
  ).decode()


def on_first_process(act: Callable[[], object]) -> None:
  """Lets the first process act; all return when it has."""
  broadcast_from_first(lambda: act() and None)


def barrier() -> None:
  """Returns when all processes are here: what the first wrote can be read."""
  on_first_process(lambda: None)


def all_true(yes: bool) -> bool:
  """Returns whether each process says so."""
  if single_process():
    return yes
  return bool(multihost_utils.process_allgather(np.array(yes)).all())


def to_host(tree):
  """Returns a pytree of arrays as numpy arrays, whole in each process."""
  if single_process():
    return jax.device_get(tree)

  def one(array):
    if not isinstance(array, jax.Array) or array.is_fully_addressable:
      return np.asarray(array)
    if array.is_fully_replicated:
      return np.asarray(array.addressable_data(0))
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))

  return jax.tree.map(one, tree)
