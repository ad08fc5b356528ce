"""Sizes of a model as its tensors tell them, and a reader of `config.json`."""

from collections.abc import Mapping
import re
from typing import Any


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
