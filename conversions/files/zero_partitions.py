"""Joins the parts into which ZeRO splits the weights of a training.

ZeRO 1, 2   the parameters of a group form a vector, whose parts follow each
            other: rank 0 has the first part. Zeros at the end fill it up.
ZeRO 3      each parameter is split over all ranks, and filled up at its end;
            a rank has its parts of all parameters in a row.
"""

from collections.abc import Sequence
import math

import numpy as np

from conversions.files import tensors
from conversions.files import zero_state

# The vectors of ZeRO 1 and 2 are filled up to a multiple of it times the ranks.
ALIGNMENT = 2
OPTIMIZER = 'optimizer_state_dict'
OTHER_FILES = 'its files are damaged, or are not of one checkpoint'


def stage_and_ranks(state: zero_state.State) -> tuple[int, int]:
  """Returns (stage of ZeRO, number of ranks).

  Args:
    state: file of the optimizer.

  Raises:
    ValueError: it is no such file.
  """
  stage = state.get(int, OPTIMIZER, 'zero_stage')
  count = state.get(object, OPTIMIZER, 'partition_count')
  # Groups of experts have a number of their own, which is smaller.
  counts = count if isinstance(count, list) and count else [count]
  if stage not in (1, 2, 3) or any(type(n) is not int or n < 1 for n in counts):
    raise ValueError(
      f'{state.path} must be of ZeRO 1, 2 or 3 with 1 rank or more, got stage '
      f'{stage!r:.20} and {count!r:.40} ranks'
    )
  return stage, max(counts)


def of_groups(
  model: zero_state.State, optimizers: Sequence[zero_state.State]
) -> dict[str, tensors.Tensor]:
  """Returns the weights of ZeRO 1 or 2 by name.

  Args:
    model: file with the module.
    optimizers: files of the optimizer, by rank.

  Raises:
    ValueError: the parts do not fit the shapes.
  """
  # Frozen weights and buffers are only in the module.
  weights = model.named_tensors('module')
  groups = model.group_shapes()
  ranks = [
    state.vectors(OPTIMIZER, 'single_partition_of_fp32_groups')
    for state in optimizers
  ]
  for state, vectors in zip(optimizers, ranks):
    if len(vectors) != len(groups):
      raise ValueError(
        f'{state.path} must have {len(groups)} groups of parameters, as '
        f'{model.path.name} has, got {len(vectors)}'
      )
  gaps = _gaps(optimizers[0], groups)
  for i, shapes in enumerate(groups):
    parts, start = [vectors[i] for vectors in ranks], 0
    for name, shape in shapes.items():
      if name in weights and weights[name].shape != shape:
        raise ValueError(
          f'{model.path}: {name!r:.200} must have shape {shape!r:.99} in the '
          f'module, too, got {weights[name].shape!r:.99}'
        )
      count = math.prod(shape)
      weights[name] = _join(model, name, shape, _range(parts, start, count))
      start += count + gaps.get(name, 0)
    available, multiple = _size(parts), ALIGNMENT * len(optimizers)
    if -(-start // multiple) != -(-available // multiple):
      raise ValueError(
        f'{model.path.parent}: group {i} of its parameters must have {start} '
        f'elements in all ranks, got {available}: {OTHER_FILES}'
      )
  return with_shared(weights, model)


def of_parameters(
  models: Sequence[zero_state.State], optimizers: Sequence[zero_state.State]
) -> dict[str, tensors.Tensor]:
  """Returns the weights of ZeRO 3 by name.

  Args:
    models: files with the module, by rank.
    optimizers: files of the optimizer, by rank.

  Raises:
    ValueError: the parts do not fit the shapes.
  """
  first, ranks = models[0], len(models)
  weights = untrained(models)
  vectors = [
    state.vectors(OPTIMIZER, 'fp32_flat_groups') for state in optimizers
  ]
  start = 0
  for shapes in first.group_shapes():
    for name, shape in shapes.items():
      count = -(-math.prod(shape) // ranks)
      parts = [part for v in vectors for part in _range(v, start, count)]
      parts = _range(parts, 0, math.prod(shape))
      weights[name] = _join(first, name, shape, parts)
      start += count
  for state, parts in zip(optimizers, vectors):
    if _size(parts) != start:
      raise ValueError(
        f'{state.path} must have {start} elements, got {_size(parts)}: '
        + OTHER_FILES
      )
  return with_shared(weights, first)


def untrained(models: Sequence[zero_state.State]) -> dict[str, tensors.Tensor]:
  """Returns buffers and frozen weights of ZeRO 3 by name.

  Args:
    models: files with the module, by rank.

  Raises:
    ValueError: the parts do not fit the shapes.
  """
  first, ranks = models[0], len(models)
  buffers = first.get(list, 'buffer_names')
  weights = {
    name: tensor
    for name, tensor in first.named_tensors('module').items()
    if name in buffers
  }
  if first.has('frozen_param_shapes'):
    key = 'frozen_param_fragments'
    fragments = [state.named_tensors(key) for state in models]
    for name, shape in first.shapes('frozen_param_shapes').items():
      parts = [part[name] for part in fragments if name in part]
      if len(parts) != ranks or any(len(part.shape) != 1 for part in parts):
        raise ValueError(
          f'{first.path.parent}: {name!r:.200} must have a vector at {key} of '
          f'each rank, got {len(parts)} tensors: {OTHER_FILES}'
        )
      parts = _range(parts, 0, math.prod(shape))
      weights[name] = _join(first, name, shape, parts)
  return weights


def _gaps(state: zero_state.State, groups) -> dict[str, int]:
  """Returns the zeros that follow a parameter in its group, by name."""
  key = 'param_alignment_paddings'
  if not state.has(OPTIMIZER, key):
    return {}
  counts = state.get(list, OPTIMIZER, key)
  if (
    len(counts) != len(groups)
    or any(not isinstance(group, list) for group in counts)
    or [len(group) for group in counts] != [len(shapes) for shapes in groups]
    or any(type(n) is not int or n < 0 for group in counts for n in group)
  ):
    raise ValueError(f'{state.path} must have a count per parameter at {key}')
  return {
    name: n
    for shapes, group in zip(groups, counts)
    for name, n in zip(shapes, group)
  }


def _size(parts) -> int:
  return sum(part.size for part in parts)


def _range(parts, start: int, count: int) -> list[tensors.StridedTensor]:
  """Returns vectors of `count` elements of joined vectors, fewer at the end."""
  selected = []
  for part in parts:
    length = min(count, part.size - start)
    if length > 0:
      selected.append(tensors.section(part, start, length))
      count -= length
    start = max(0, start - part.size)
  return selected


def _join(state: zero_state.State, name, shape, parts) -> tensors.JoinedTensor:
  """Returns a parameter from its parts."""
  dtype = parts[0].dtype if parts else np.dtype(np.float32)
  try:
    return tensors.JoinedTensor(shape, dtype, tuple(parts))
  except ValueError as error:
    raise ValueError(
      f'{state.path.parent}: {name!r:.200}: {error}: {OTHER_FILES}'
    ) from error


def with_shared(
  weights: dict[str, tensors.Tensor], state: zero_state.State
) -> dict[str, tensors.Tensor]:
  """Adds the names of parameters that share the elements of another.

  Args:
    weights: tensors by name, which receives them.
    state: file with the module.
  """
  if state.has('shared_params'):
    for name, other in dict.items(state.get(dict, 'shared_params')):
      if isinstance(name, str) and isinstance(other, str) and other in weights:
        weights[name] = weights[other]
  return weights
