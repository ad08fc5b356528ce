"""Converts weights between PyTorch and JAX by a table of names.

`weight_rows` describes tables. `constants` are arrays that PyTorch stores
although they follow from the model's sizes: reading checks their values,
writing adds them.

Both directions are strict: all missing and surplus tensors, wrong shapes,
dtypes and values are collected and raised as a single ValueError.
"""

import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import math
from typing import Any

from flax import nnx
import jax
import numpy as np

from conversions import weight_rows
from conversions.files import tensors

FLOAT64 = np.dtype(np.float64)
# Dtypes that are read. Parameters are float32.
READ = (*tensors.FLOATS, FLOAT64)


def to_jax(
  state_dict: Mapping[str, Any],
  table: Sequence[weight_rows.WeightRow],
  abstract_model: nnx.Module,
  constants: Mapping[str, np.ndarray] | None = None,
  progress: Callable[[Iterable], Iterable] = iter,
) -> nnx.Module:
  """Builds a model from a PyTorch state dict.

  Args:
    state_dict: torch name -> numpy array or tensors.Tensor. A Tensor is read
      when its parameter is built.
    table: rows; the first row that matches a jax path applies.
    abstract_model: module of jax.ShapeDtypeStruct (nnx.eval_shape). Arrays
      take its dtypes, and its shardings if it has any.
    constants: torch name -> required value; its dtype may be another.
    progress: wraps the iteration over parameters.

  Returns:
    The module with arrays.

  Raises:
    ValueError: lists every tensor that is missing, surplus or not finite, has
      a wrong shape, has no dtype in READ, exceeds float32, or is a constant
      with another value.
  """
  graph, state = nnx.split(abstract_model)
  faults, unread = [], dict(state_dict)
  dtype, leaves = common_dtype(unread), []
  for name, value in (constants or {}).items():
    tensor = unread.pop(name, None)
    if tensor is None:
      faults.append(f'missing {name}')
    elif tensor.shape != value.shape or not np.array_equal(tensor, value):
      faults.append(f'{name}: differs from the value that its sizes imply')
  for path, target in progress(list(_leaves(state).items())):
    row = weight_rows.row_of_path(path, table)
    if row is None:
      faults.append(f'no row for jax path {path}')
      continue
    array = None if faults else _aligned_empty(target.shape, target.dtype)
    shapes = weight_rows.torch_shapes(row, path, target.shape)
    for i, (name, shape) in enumerate(shapes.items()):
      tensor = unread.pop(name, None)
      fault = _misfit(name, tensor, shape, dtype)
      if not fault:
        tensor = np.asarray(tensor)
        fault = not_finite(name, tensor)
      if fault:
        faults.append(fault)
      elif not faults:
        transform = weight_rows.TRANSFORMS[row.transform][0]
        array[i if row.stacked else ...] = transform(tensor)
    if not faults:
      leaves.append(jax.device_put(array, getattr(target, 'sharding', None)))
  faults += [f'surplus {k} {tuple(unread[k].shape)}' for k in sorted(unread)]
  _raise_faults(faults, 'PyTorch to JAX')
  return nnx.merge(graph, jax.tree.unflatten(jax.tree.structure(state), leaves))


def common_dtype(state_dict: Mapping[str, Any]) -> np.dtype:
  """Returns the commonest floating dtype; float32 without floating tensors."""
  counts = _dtype_counts(state_dict)
  return counts.most_common(1)[0][0] if counts else tensors.FLOATS[0]


def stored_dtype(state_dict: Mapping[str, Any]) -> np.dtype:
  """Returns the dtype of floating tensors; float32 for several, or float64."""
  counts = _dtype_counts(state_dict)
  dtype = next(iter(counts)) if len(counts) == 1 else tensors.FLOATS[0]
  return dtype if dtype in tensors.FLOATS else tensors.FLOATS[0]


def describe_dtypes(
  state_dict: Mapping[str, Any], integers: Iterable[str] = ()
) -> list[str]:
  """Returns a line for each change of dtypes by conversion there and back.

  Args:
    state_dict: torch name -> tensor.
    integers: names of constants of int64.
  """
  counts, lines = _dtype_counts(state_dict), []
  if len(counts) > 1 or FLOAT64 in counts:
    listed = ', '.join(f'{n} {dtype}' for dtype, n in counts.most_common())
    rounded = ' (float64 is rounded)' if FLOAT64 in counts else ''
    lines.append(
      f'dtypes of tensors: {listed}; all become float32{rounded}, and '
      '--reverse writes float32'
    )
  return lines + [
    f'{name} has dtype {state_dict[name].dtype}; --reverse writes int64'
    for name in integers
    if name in state_dict and state_dict[name].dtype != np.int64
  ]


def _dtype_counts(state_dict) -> collections.Counter:
  return collections.Counter(
    a.dtype for a in state_dict.values() if a.dtype in READ
  )


@dataclasses.dataclass(frozen=True)
class Entry:
  """A tensor in a PyTorch state dict, built on demand.

  Attributes:
    shape: tensor shape.
    dtype: element type.
    make: builds the array.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  make: Callable[[], np.ndarray]


def entries(
  model: nnx.Module,
  table: Sequence[weight_rows.WeightRow],
  constants: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Entry]:
  """Lists a model's PyTorch state dict: the inverse of `to_jax`.

  Args:
    model: module with arrays.
    table: rows; the first row that matches a jax path applies.
    constants: torch name -> array, added to the model's own.

  Returns:
    Torch name -> tensor, sorted by name.

  Raises:
    ValueError: lists every parameter without a row and every torch name that
      two parameters share.
  """
  faults = []
  result = {
    name: Entry(array.shape, array.dtype, functools.partial(np.array, array))
    for name, array in (constants or {}).items()
  }
  for path, leaf in _leaves(nnx.state(model)).items():
    row = weight_rows.row_of_path(path, table)
    if row is None:
      faults.append(f'no row for jax path {path}')
      continue
    shapes = weight_rows.torch_shapes(row, path, leaf.shape)
    for i, (name, shape) in enumerate(shapes.items()):
      if name in result:
        faults.append(f'{name} is written twice')
      index = i if row.stacked else ...
      make = functools.partial(_to_torch_array, row, leaf, index)
      result[name] = Entry(shape, np.dtype(leaf.dtype), make)
  _raise_faults(faults, 'JAX to PyTorch')
  return dict(sorted(result.items()))


def _to_torch_array(row, leaf, index) -> np.ndarray:
  return weight_rows.TRANSFORMS[row.transform][1](np.asarray(leaf)[index])


def to_torch(
  model: nnx.Module,
  table: Sequence[weight_rows.WeightRow],
  constants: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
  """Builds all `entries`: torch name -> C-contiguous array."""
  return {
    name: np.asarray(entry.make(), order='C')
    for name, entry in entries(model, table, constants).items()
  }


def unused_rows(
  model: nnx.Module, table: Sequence[weight_rows.WeightRow]
) -> list[weight_rows.WeightRow]:
  """Returns rows that match no parameter of a concrete or abstract model."""
  used = {
    weight_rows.row_of_path(path, table) for path in _leaves(nnx.state(model))
  }
  return [row for row in table if row not in used]


def _misfit(name, tensor, shape, dtype) -> str | None:
  """Returns the fault of an unread tensor, or None."""
  if tensor is None:
    return f'missing {name} {shape}'
  if tuple(tensor.shape) != shape:
    return f'{name}: shape must be {shape}, got {tuple(tensor.shape)}'
  return wrong_dtype(name, tensor.dtype, dtype)


def wrong_dtype(name: str, actual, usual) -> str | None:
  """Returns the fault of a dtype that no weights have, or None.

  Args:
    name: torch name.
    actual: dtype of the tensor.
    usual: dtype of the other tensors.
  """
  if actual in READ:
    return None
  fault = f'{name}: dtype must be {usual}, got {actual}'
  # Quantized weights have a scale beside them.
  if np.dtype(actual).itemsize == 1:
    fault += '; quantized weights are not read: save them as float16 or float32'
  return fault


def not_finite(name: str, array: np.ndarray) -> str | None:
  """Returns the fault of an array with NaN or infinity, or None.

  Args:
    name: torch name.
    array: floating array; values of float64 must also be finite in float32.
  """
  if array.dtype == FLOAT64:
    finite = np.abs(array) <= np.finfo(np.float32).max
  else:
    finite = np.isfinite(array)
  return None if finite.all() else f'{name}: values must be finite'


def _aligned_empty(shape, dtype) -> np.ndarray:
  """Returns an empty array at a 64-byte boundary.

  XLA's CPU backend uses aligned memory in place and copies other memory.
  """
  size = math.prod(shape) * np.dtype(dtype).itemsize
  buffer = np.empty(size + 64, np.uint8)
  start = -buffer.ctypes.data % 64
  return buffer[start : start + size].view(dtype).reshape(shape)


def _leaves(state: nnx.State) -> dict[str, Any]:
  """Returns leaves by jax path, in the order of jax.tree.leaves."""
  flat, _ = jax.tree_util.tree_flatten_with_path(state)
  return {
    jax.tree_util.keystr(path, simple=True, separator='.').removesuffix(
      '.value'
    ): leaf
    for path, leaf in flat
  }


def _raise_faults(faults: Sequence[str], direction: str) -> None:
  """Raises a ValueError that lists all faults, if there are any."""
  if faults:
    raise ValueError(fault_list(faults, direction))


def fault_list(faults: Sequence[str], direction: str) -> str:
  """Returns a message with a line for each fault.

  Args:
    faults: descriptions.
    direction: 'PyTorch to JAX' or 'JAX to PyTorch'.
  """
  return f'{direction}: {len(faults)} faults\n  ' + '\n  '.join(faults)
