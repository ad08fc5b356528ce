"""Communication between the processes of a run, each with its own devices.

All processes make the same calls in the same order, and hold the same numbers
on the host. Only the first process writes files and prints. Processes may see
a new file at different times: only the first process reads the file system
where a decision depends on it, and broadcasts the answer.
"""

from collections.abc import Callable
import json

import jax
from jax.experimental import multihost_utils
import numpy as np

# Outcomes of the first process: a value, a ValueError, another error.
_OK, _WRONG, _FAILED = 'ok', 'wrong', 'failed'


def single_process() -> bool:
  """Returns whether the run has a single process."""
  return jax.process_count() == 1


def is_first() -> bool:
  """Returns whether this process writes files and prints."""
  return jax.process_index() == 0


def broadcast_from_first(ask: Callable):
  """Calls a function in the first process; all processes return its result.

  Args:
    ask: function that returns JSON types.

  Raises:
    ValueError: `ask` raised a ValueError.
    OSError: `ask` raised another exception, which the first process raises
      as it is.
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
  kind, value = json.loads(_broadcast_text(json.dumps(answer)))
  if error is not None:
    raise error
  if kind != _OK:
    raise (ValueError if kind == _WRONG else OSError)(value)
  return value


def _broadcast_text(text: str) -> str:
  """Returns the first process's text."""
  data = np.frombuffer(text.encode(), np.uint8)
  size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
  # A power of two, so that few sizes are compiled.
  padded = np.zeros(1 << max(8, (size - 1).bit_length()), np.uint8)
  if is_first():
    padded[:size] = data
  received = np.asarray(multihost_utils.broadcast_one_to_all(padded))
  return bytes(received[:size]).decode()


def gather(ask: Callable) -> list:
  """Calls a function in every process; all processes return all results.

  Args:
    ask: function that returns JSON types.

  Returns:
    Results in the order of the processes.

  Raises:
    ValueError: `ask` raised a ValueError in a process.
    OSError: `ask` raised another exception in a process, which that process
      raises as it is.
  """
  if single_process():
    return [ask()]
  error = None
  try:
    outcome = [_OK, ask()]
  except Exception as caught:
    kind = _WRONG if isinstance(caught, ValueError) else _FAILED
    outcome, error = [kind, str(caught)], caught
  outcomes = [json.loads(text) for text in _all_texts(json.dumps(outcome))]
  if error is not None:
    raise error
  for kind, value in outcomes:
    if kind != _OK:
      raise (ValueError if kind == _WRONG else OSError)(value)
  return [value for _, value in outcomes]


def _all_texts(text: str) -> list[str]:
  """Returns the texts of all processes."""
  data = np.frombuffer(text.encode(), np.uint8)
  sizes = multihost_utils.process_allgather(np.int32(len(data)))
  padded = np.zeros(1 << max(8, int(sizes.max() - 1).bit_length()), np.uint8)
  padded[: len(data)] = data
  rows = np.asarray(multihost_utils.process_allgather(padded))
  return [bytes(row[:n]).decode() for row, n in zip(rows, sizes, strict=True)]


def on_first_process(act: Callable[[], object]) -> None:
  """Calls a function in the first process; all processes wait for its end.

  Args:
    act: function whose result is dropped.
  """
  broadcast_from_first(lambda: act() and None)


def call_of_user(function: Callable, ask: Callable):
  """Calls a function of the user in the first process, and broadcasts.

  All processes call this. If the function computes on devices of JAX, which its
  attribute `uses_devices` says, all processes call it.

  Args:
    function: function of the user.
    ask: calls it; returns JSON types, or a numpy array.

  Raises:
    ValueError: `ask` raised a ValueError.
  """
  if getattr(function, 'uses_devices', False):
    return ask()

  def to_json():
    result = ask()
    return result.tolist() if isinstance(result, np.ndarray) else result

  return broadcast_from_first(to_json)


def barrier() -> None:
  """Waits for all processes; afterwards all can read what the first wrote."""
  on_first_process(lambda: None)


def all_true(yes: bool) -> bool:
  """Returns whether a condition holds in all processes.

  Args:
    yes: the condition in this process.
  """
  if single_process():
    return yes
  return bool(multihost_utils.process_allgather(np.array(yes)).all())


def to_host(tree):
  """Returns arrays as complete numpy arrays in each process.

  Args:
    tree: pytree of arrays, which may be spread over devices.
  """
  if single_process():
    return jax.device_get(tree)

  def gather(array):
    if not isinstance(array, jax.Array) or array.is_fully_addressable:
      return np.asarray(array)
    if array.is_fully_replicated:
      return np.asarray(array.addressable_data(0))
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))

  return jax.tree.map(gather, tree)
