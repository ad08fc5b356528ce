"""Reads model sizes from tensors and checks `config.json`."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import re
from typing import Any

import numpy as np

from conversions import weight_rows
from conversions import weight_table
from hermesflow_jax.models import phi


def shape(
  state_dict: Mapping[str, Any], name: str, axes: int
) -> tuple[int, ...]:
  """Returns a tensor's shape.

  Args:
    state_dict: torch name -> tensor.
    name: torch name.
    axes: required number of axes.

  Raises:
    ValueError: the tensor is missing or empty, or has other axes.
  """
  if name not in state_dict:
    raise ValueError(f'missing {name}, which determines sizes')
  sizes = tuple(state_dict[name].shape)
  if len(sizes) != axes or 0 in sizes:
    raise ValueError(f'{name}: shape must have {axes} axes, got {sizes}')
  return sizes


def count(names: Iterable[str], pattern: str) -> int:
  """Counts the different numbers at the `*` in name prefixes.

  Gaps are reported later, as missing tensors.

  Args:
    names: torch names.
    pattern: prefix with a `*`, e.g. 'layers.*.'.
  """
  expression = re.compile(re.escape(pattern).replace(r'\*', r'(\d{1,6})'))
  matches = (expression.match(name) for name in names)
  return len({int(m[1]) for m in matches if m})


def describe(config: Any, record: Mapping[str, Any]) -> str:
  """Returns the layers and the width of a model, which its tensors determine.

  Tensors that lack the last layers, e.g. for want of a shard, are those of a
  smaller model.

  Args:
    config: model config.
    record: contents of `config.json`.

  Returns:
    E.g. '24 layers of width 2,048'; '' for a model without such sizes. If
    `config.json` names a Phi-1.5 with more layers, the text says so.
  """
  decoder = getattr(config, 'decoder', config)
  if not hasattr(decoder, 'layers') or not hasattr(decoder, 'width'):
    return ''
  text = f'{decoder.layers} layers of width {decoder.width:,}'
  full, name = phi.PhiConfig(), record.get('llm_model_path')
  if (
    str(name).endswith('phi-1_5')
    and decoder.width == full.width
    and decoder.layers < full.layers
  ):
    text += (
      f'; warning: {name}, which config.json names, has {full.layers} layers: '
      'look for missing shards'
    )
  return text


class Config:
  """Reads a `config.json` and collects its faults.

  Attributes:
    faults: descriptions of wrong values so far.
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
        else f'{name} must be a number, got {value!r:.80}'
      )
      return default or 1
    return value

  def choice(self, name: str, choices: Iterable[str]) -> str:
    """Returns a text; the first choice without the key."""
    first, *others = choices
    value = self._record.get(name, first)
    if value not in (first, *others):
      listed = ' or '.join(map(repr, (first, *others)))
      self.faults.append(f'{name} must be {listed}, got {value!r:.80}')
      return first
    return value

  def agree(self, **expected) -> None:
    """Adds a fault for each value that is present and differs."""
    for name, value in expected.items():
      actual = self._record.get(name, value)
      if actual is not None and actual != value:
        self.faults.append(f'{name} must be {value!r}, got {actual!r:.80}')

  def check(self) -> None:
    """Raises ValueError with all faults, if any."""
    if self.faults:
      faults = '; '.join(self.faults)
      if self._record:
        raise ValueError(f'config.json: {faults}')
      raise ValueError(
        f'there is no config.json: {faults}; copy it from the model that the '
        'training started from'
      )


def read_or_list_faults(
  read: Callable[[], Any],
  state_dict: Mapping[str, Any],
  table: Sequence[weight_rows.WeightRow],
  required: Sequence[weight_rows.WeightRow],
  constants: Iterable[str] = (),
) -> Any:
  """Reads sizes; if that fails, lists all faults that need no sizes.

  Args:
    read: returns the sizes, or raises ValueError.
    state_dict: torch name -> tensor.
    table: allowed rows.
    required: rows in `table` that must have tensors.
    constants: torch names of constants.

  Returns:
    The sizes.

  Raises:
    ValueError: the error from `read`, and every other fault that shows without
      sizes: unknown names, rows and layers without a tensor, values that are
      not finite, and dtypes that are not read.
  """
  try:
    return read()
  except ValueError as error:
    faults = [
      str(error),
      *_faults_without_sizes(state_dict, table, required, set(constants)),
    ]
    raise ValueError(
      weight_table.fault_list(faults, 'PyTorch to JAX')
    ) from error


def _faults_without_sizes(state_dict, table, required, constants) -> list[str]:
  """Returns the faults that show without sizes."""
  dtype = weight_table.common_dtype(state_dict)
  numbers_of_row, faults = {}, []
  for name, tensor in state_dict.items():
    if name in constants:
      continue
    for row in table:
      numbers = weight_rows.star_numbers(name, row.torch_name)
      if numbers is not None:
        numbers_of_row.setdefault(row, set()).add(numbers)
        break
    else:
      faults.append(f'surplus {name} {tuple(tensor.shape)}')
      continue
    fault = weight_table.wrong_dtype(name, tensor.dtype, dtype)
    if fault := fault or weight_table.not_finite(name, np.asarray(tensor)):
      faults.append(fault)
  # All rows of stacked layers have the same numbers. A list of modules may
  # have any numbers.
  layers = set().union(*(n for row, n in numbers_of_row.items() if row.stacked))
  for row in required:
    if '*' not in row.torch_name:
      expected = {()}
    else:
      expected = layers if row.stacked else set()
    missing = sorted(
      expected - numbers_of_row.get(row, set()), key=lambda n: [*map(int, n)]
    )
    faults += [
      f'missing {weight_rows.fill_stars(row.torch_name, n)}' for n in missing
    ]
  return faults
