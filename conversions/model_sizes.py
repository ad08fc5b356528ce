"""Sizes of a model as its tensors tell them, and a reader of `config.json`."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import re
from typing import Any

import numpy as np

from conversions import weight_table


def shape(found: Mapping[str, Any], name: str, axes: int) -> tuple[int, ...]:
  """Returns the shape of a tensor.

  Args:
    found: torch name -> tensor.
    name: which.
    axes: how many it must have.

  Raises:
    ValueError: it is missing, has other axes or an empty one.
  """
  if name not in found:
    raise ValueError(f'missing {name}, which tells sizes')
  sizes = tuple(found[name].shape)
  if len(sizes) != axes or 0 in sizes:
    raise ValueError(f'{name}: found shape {sizes}, wanted {axes} axes')
  return sizes


def count(found: Mapping[str, Any], pattern: str) -> int:
  """Returns how many numbers stand for `*` at the beginning of the names.

  Gaps are found later, as missing tensors.
  """
  expression = re.compile(re.escape(pattern).replace(r'\*', r'(\d{1,6})'))
  matches = (expression.match(name) for name in found)
  return len({int(m[1]) for m in matches if m})


class Config:
  """What stands in a `config.json`, with faults collected.

  Attributes:
    faults: what did not fit so far.
  """

  def __init__(self, record: Mapping[str, Any]):
    self._record = record
    self.faults = []

  def number(self, name: str, default=None, kind=int):
    """Returns a number; without a default, its absence is a fault."""
    value = self._record.get(name, default)
    if kind is float and type(value) is int:
      value = float(value)
    if type(value) is not kind or not 0 <= value < float('inf'):
      self.faults.append(
        f'{name} is missing'
        if value is None
        else f'{name} is {value!r:.80}, wanted a number'
      )
      return default or 1
    return value

  def agree(self, **wanted) -> None:
    """Notes each value that is there and is not as wanted."""
    for name, value in wanted.items():
      found = self._record.get(name, value)
      if found is not None and found != value:
        self.faults.append(f'{name} is {found!r:.80}, wanted {value!r}')

  def check(self) -> None:
    """Raises ValueError with all faults, if there are any."""
    if self.faults:
      where = 'config.json' if self._record else 'there is no config.json'
      raise ValueError(f'{where}: ' + '; '.join(self.faults))


def sized(
  read: Callable[[], Any],
  state_dict: Mapping[str, Any],
  table: Sequence[weight_table.Row],
  needed: Sequence[weight_table.Row],
  constants: Iterable[str] = (),
) -> Any:
  """Reads the sizes that the rest of a conversion rests on.

  Args:
    read: returns the sizes, or raises ValueError.
    state_dict: as in `to_jax`.
    table: the rows that there may be.
    needed: those of them that there must be.
    constants: names of what is stored beside them.

  Returns:
    What `read` returns.

  Raises:
    ValueError: what `read` said, and every other fault that shows without
      sizes: names of no row, rows and layers without a tensor, values that
      are not finite, tensors of another type than the rest.
  """
  try:
    return read()
  except ValueError as error:
    faults = [str(error), *_unsized(state_dict, table, needed, set(constants))]
    raise ValueError(weight_table.all_of(faults, 'PyTorch to JAX')) from error


def _unsized(state_dict, table, needed, constants):
  """The faults that show without sizes."""
  dtype, hit, faults = weight_table.common_dtype(state_dict), {}, []
  for name, tensor in state_dict.items():
    if name in constants:
      continue
    for row in table:
      found = weight_table.numbers(name, row.torch)
      if found is not None:
        hit.setdefault(row, set()).add(found)
        break
    else:
      faults.append(f'surplus {name} {tuple(tensor.shape)}')
      continue
    if tensor.dtype != dtype:
      faults.append(f'{name}: found dtype {tensor.dtype}, wanted {dtype}')
    elif fault := weight_table.not_finite(name, np.asarray(tensor)):
      faults.append(fault)
  # All rows of stacked layers have the same numbers; a list of modules may
  # have any.
  layers = set().union(*(n for row, n in hit.items() if row.stacked))
  for row in needed:
    wanted = {()} if '*' not in row.torch else layers if row.stacked else set()
    missing = sorted(wanted - hit.get(row, set()), key=lambda n: [*map(int, n)])
    faults += [f'missing {weight_table.fill(row.torch, n)}' for n in missing]
  return faults
