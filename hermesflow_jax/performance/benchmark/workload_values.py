"""Values that a workload computes, to compare two forms of a model."""

import jax
import numpy as np

from hermesflow_jax.performance.benchmark import workload
from hermesflow_jax.runtime import sharding


def first_values(
  call, work: workload.Work, steps: int
) -> tuple[dict[str, np.ndarray], tuple]:
  """Runs the first calls of a workload.

  Args:
    call: the workload's function, compiled or not.
    work: the workload.
    steps: training steps; other workloads run once.

  Returns:
    Arrays by name, and the arguments of the next call. Those of training are
    the metrics, float32[steps] each; otherwise the results.
  """
  if not work.carries:
    return _named_arrays(call(*work.arguments)), work.arguments
  arguments, rows = work.arguments, []
  for _ in range(steps):
    state, metrics = call(*arguments)
    arguments = (state, *arguments[1:])
    rows.append(jax.device_get(metrics))
  return {
    name: np.array([row[name] for row in rows], np.float32) for name in rows[0]
  }, arguments


def _named_arrays(tree) -> dict[str, np.ndarray]:
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  arrays = {sharding.path_name(path): np.asarray(leaf) for path, leaf in leaves}
  return {
    name or 'result': array.astype(np.float32)
    if jax.numpy.issubdtype(array.dtype, np.floating)
    else array
    for name, array in arrays.items()
  }


def difference(
  first: dict[str, np.ndarray], second: dict[str, np.ndarray]
) -> dict[str, float]:
  """Compares the values of two forms of a workload.

  Args:
    first: arrays from `first_values`.
    second: arrays of the other form, with the same names and shapes.

  Returns:
    By name, of numbers the largest difference relative to the largest number
    of `first`; of whole numbers (codes, tokens) the share that differs.
  """
  differences = {}
  for name in sorted(first.keys() & second.keys()):
    a, b = first[name], second[name]
    if np.issubdtype(a.dtype, np.floating):
      a, b = a.astype(np.float64), b.astype(np.float64)
      largest = np.abs(a).max(initial=0.0)
      value = np.abs(a - b).max(initial=0.0) / (largest or 1.0)
    else:
      value = np.mean(a != b)
    differences[name] = float(value)
  return differences
