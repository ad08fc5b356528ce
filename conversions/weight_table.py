"""Applies a literal table of weight names, PyTorch to JAX or back.

A table is a tuple of rows, written as aligned lines

  torch name | jax path | move

Names are dotted. A `*` in the torch name stands for a number:
  * with a `*` at the same place in the jax path, the number is the same there
    (lists of modules);
  * without a `*` in the jax path, the torch tensors 0, 1, 2, ... are the rows
    of ONE array with a leading layer axis (stacked layers).
`constants` are arrays the PyTorch model stores although they follow from its
sizes: they must be there with just these values, and are written back.

Both directions are strict. What is missing, surplus, of a wrong shape, type or
value is collected and raised as one ValueError.
"""

import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import math
import re
from typing import Any

from flax import nnx
import jax
import numpy as np

from conversions.files import tensors

# name: (torch array -> jax array, and back)
MOVES = {
  'copy': (lambda a: a, lambda a: a),
  'transpose': (  # [out, in] -> [in, out]
    lambda a: a.T,
    lambda a: a.T,
  ),
  'conv': (  # [out, in, height, width] -> [height, width, in, out]
    lambda a: a.transpose(2, 3, 1, 0),
    lambda a: a.transpose(3, 2, 0, 1),
  ),
  'pointwise': (  # [out, in, 1, 1] -> [in, out]
    lambda a: a.reshape(a.shape[:2]).T,
    lambda a: a.T[:, :, None, None],
  ),
}


@dataclasses.dataclass(frozen=True)
class Row:
  """One line of a table: `torch` and `jax` names, and a move of MOVES."""

  torch: str
  jax: str
  move: str

  def __post_init__(self):
    stars = self.torch.count('*'), self.jax.count('*')
    if stars not in ((0, 0), (1, 0)) and stars[0] != stars[1]:
      raise ValueError(
        f'{self}: the jax path wants as many * as the torch name, or none '
        'for one stacked axis'
      )
    if self.move not in MOVES:
      raise ValueError(f'{self}: move wants to be one of {sorted(MOVES)}')

  @property
  def stacked(self) -> bool:
    """Whether the torch tensors of this row share one jax array."""
    return '*' in self.torch and '*' not in self.jax


def parse(text: str) -> tuple[Row, ...]:
  """Rows of aligned lines `torch name | jax path | move`."""
  return tuple(
    Row(*(part.strip() for part in line.split('|')))
    for line in text.strip().splitlines()
  )


def to_jax(
  state_dict: Mapping[str, Any],
  table: Sequence[Row],
  abstract_model: nnx.Module,
  constants: Mapping[str, np.ndarray] | None = None,
  progress: Callable[[Iterable], Iterable] = iter,
) -> nnx.Module:
  """Builds a model from a PyTorch state dict.

  Args:
    state_dict: torch name -> numpy array, or what has a shape, a dtype and
      becomes one, such as tensors.Tensor; it is read when its turn comes.
    table: the rows; the first whose jax path matches decides.
    abstract_model: module of jax.ShapeDtypeStruct (nnx.eval_shape). Arrays
      take its dtypes, and its shardings where it has some.
    constants: torch name -> the value that must be found there.
    progress: wraps the parameters.

  Returns:
    The module with arrays.

  Raises:
    ValueError: names every tensor missing, surplus, misshapen, not finite, of
      another type than the rest (float32, bfloat16 or float16) or altered.
  """
  graph, state = nnx.split(abstract_model)
  faults, unread = [], dict(state_dict)
  dtype, leaves = common_dtype(unread), []
  for name, wanted in (constants or {}).items():
    found = unread.pop(name, None)
    kind = dtype if wanted.dtype in tensors.FLOATS else wanted.dtype
    if found is None:
      faults.append(f'missing {name}')
    elif found.dtype != kind:
      faults.append(f'{name}: found dtype {found.dtype}, wanted {kind}')
    elif found.shape != wanted.shape or not np.array_equal(found, wanted):
      faults.append(f'{name}: differs from the value its sizes imply')
  for path, target in progress(list(_leaves(state).items())):
    row = _match(path, table)
    if row is None:
      faults.append(f'no row for jax path {path}')
      continue
    array = None if faults else _room(target.shape, target.dtype)
    shapes = _torch_shapes(row, path, target.shape)
    for i, (name, shape) in enumerate(shapes.items()):
      part = unread.pop(name, None)
      fault = _misfit(name, part, shape, dtype)
      if not fault:
        part = np.asarray(part)
        fault = not_finite(name, part)
      if fault:
        faults.append(fault)
      elif not faults:
        array[i if row.stacked else ...] = MOVES[row.move][0](part)
    if not faults:
      leaves.append(jax.device_put(array, getattr(target, 'sharding', None)))
  faults += [f'surplus {k} {tuple(unread[k].shape)}' for k in sorted(unread)]
  _raise(faults, 'PyTorch to JAX')
  return nnx.merge(graph, jax.tree.unflatten(jax.tree.structure(state), leaves))


def common_dtype(state_dict: Mapping[str, Any]) -> np.dtype:
  """Returns the type most floating tensors have; float32 if there are none."""
  found = collections.Counter(
    a.dtype for a in state_dict.values() if a.dtype in tensors.FLOATS
  )
  return found.most_common(1)[0][0] if found else tensors.FLOATS[0]


@dataclasses.dataclass(frozen=True)
class Entry:
  """One tensor of a PyTorch state dict, made when it is asked for.

  Attributes:
    shape: of the tensor.
    dtype: of the tensor.
    make: returns the array.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  make: Callable[[], np.ndarray]


def entries(
  model: nnx.Module,
  table: Sequence[Row],
  constants: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Entry]:
  """Lists the PyTorch state dict of a model: the inverse of `to_jax`.

  Args:
    model: module with arrays.
    table: the rows.
    constants: torch name -> array written beside the model's own.

  Returns:
    torch name -> tensor, sorted by name.

  Raises:
    ValueError: names every parameter without a row or with another's name.
  """
  faults = []
  result = {
    name: Entry(array.shape, array.dtype, functools.partial(np.array, array))
    for name, array in (constants or {}).items()
  }
  for path, leaf in _leaves(nnx.state(model)).items():
    row = _match(path, table)
    if row is None:
      faults.append(f'no row for jax path {path}')
      continue
    shapes = _torch_shapes(row, path, leaf.shape)
    for i, (name, shape) in enumerate(shapes.items()):
      if name in result:
        faults.append(f'{name} is written twice')
      index = i if row.stacked else ...
      make = functools.partial(_moved_back, row, leaf, index)
      result[name] = Entry(shape, np.dtype(leaf.dtype), make)
  _raise(faults, 'JAX to PyTorch')
  return dict(sorted(result.items()))


def _moved_back(row, leaf, index):
  return MOVES[row.move][1](np.asarray(leaf)[index])


def to_torch(
  model: nnx.Module,
  table: Sequence[Row],
  constants: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
  """Returns `entries`, all of them made: torch name -> contiguous array."""
  return {
    name: np.asarray(entry.make(), order='C')
    for name, entry in entries(model, table, constants).items()
  }


def unused_rows(model: nnx.Module, table: Sequence[Row]) -> list[Row]:
  """Rows no parameter of a (concrete or abstract) model hits."""
  used = {_match(path, table) for path in _leaves(nnx.state(model))}
  return [row for row in table if row not in used]


def _misfit(name, part, shape, dtype) -> str | None:
  """What is wrong with a tensor before it is read, or None."""
  if part is None:
    return f'missing {name} {shape}'
  if tuple(part.shape) != shape:
    return f'{name}: found shape {tuple(part.shape)}, wanted {shape}'
  if part.dtype != dtype:
    return f'{name}: found dtype {part.dtype}, wanted {dtype}'
  return None


def not_finite(name, array) -> str | None:
  if np.isfinite(array).all():
    return None
  return f'{name}: found values that are not finite'


def _room(shape, dtype) -> np.ndarray:
  """An empty array that XLA's CPU takes as it is, without a copy of its own."""
  size = math.prod(shape) * np.dtype(dtype).itemsize
  room = np.empty(size + 64, np.uint8)
  start = -room.ctypes.data % 64
  return room[start : start + size].view(dtype).reshape(shape)


def _leaves(state: nnx.State) -> dict[str, Any]:
  """jax path -> leaf, in the order of jax.tree.leaves."""
  flat, _ = jax.tree_util.tree_flatten_with_path(state)
  return {
    jax.tree_util.keystr(path, simple=True, separator='.').removesuffix(
      '.value'
    ): leaf
    for path, leaf in flat
  }


def _match(path: str, table: Sequence[Row]) -> Row | None:
  """The first row for a jax path."""
  return next(
    (row for row in table if numbers(path, row.jax) is not None), None
  )


def _torch_shapes(
  row: Row, path: str, shape: tuple[int, ...]
) -> dict[str, tuple[int, ...]]:
  """torch name -> shape of the tensors one jax array of a shape stands for."""
  if row.stacked:
    layers = [(str(i),) for i in range(shape[0])]
    shape = shape[1:]
  else:
    layers = [numbers(path, row.jax)]
  shape = MOVES[row.move][1](np.broadcast_to(np.float32(0), shape)).shape
  return {fill(row.torch, n): shape for n in layers}


def fill(pattern: str, numbers: Sequence[str]) -> str:
  """A pattern with its stars replaced in order."""
  for number in numbers:
    pattern = pattern.replace('*', number, 1)
  return pattern


def _raise(faults: Sequence[str], what: str) -> None:
  """Raises one ValueError that lists all faults, if there are any."""
  if faults:
    raise ValueError(all_of(faults, what))


def numbers(name: str, pattern: str) -> tuple[str, ...] | None:
  """The numbers at the stars of a pattern, None where it does not match."""
  found = re.fullmatch(re.escape(pattern).replace(r'\*', r'(\d+)'), name)
  return found and found.groups()


def all_of(faults: Sequence[str], what: str) -> str:
  return f'{what}: {len(faults)} faults\n  ' + '\n  '.join(faults)
