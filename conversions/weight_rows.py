"""Weight tables, whose rows name a weight in PyTorch and in JAX.

A table is a tuple of rows, written as aligned lines

  torch name | jax path | transform

Names are dotted. A `*` in the torch name stands for a number. The jax path has

  * a `*` at the same place: both names carry the same number (lists of
    modules);
  * no `*`: the torch tensors 0, 1, 2, ... are stacked along a leading layer
    axis in a single array.
"""

from collections.abc import Sequence
import dataclasses
import re

import numpy as np

# name: (PyTorch array -> JAX array, JAX array -> PyTorch array)
TRANSFORMS = {
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
class WeightRow:
  """A line in a weight table.

  Attributes:
    torch_name: tensor name in PyTorch.
    jax_path: parameter path in JAX.
    transform: key in TRANSFORMS.

  Raises:
    ValueError: the stars in the two names do not match, or the transform is
      unknown.
  """

  torch_name: str
  jax_path: str
  transform: str

  def __post_init__(self):
    stars = self.torch_name.count('*'), self.jax_path.count('*')
    if stars not in ((0, 0), (1, 0)) and stars[0] != stars[1]:
      raise ValueError(
        f'{self}: the jax path must have as many * as the torch name, or none '
        'for a single stacked axis'
      )
    if self.transform not in TRANSFORMS:
      raise ValueError(f'{self}: transform must be in {sorted(TRANSFORMS)}')

  @property
  def stacked(self) -> bool:
    """Whether several torch tensors share a JAX array."""
    return '*' in self.torch_name and '*' not in self.jax_path


def parse(text: str) -> tuple[WeightRow, ...]:
  """Parses aligned lines `torch name | jax path | transform`."""
  return tuple(
    WeightRow(*(part.strip() for part in line.split('|')))
    for line in text.strip().splitlines()
  )


def star_numbers(name: str, pattern: str) -> tuple[str, ...] | None:
  """Returns the numbers at a pattern's stars, None without a match."""
  match = re.fullmatch(re.escape(pattern).replace(r'\*', r'(\d+)'), name)
  return match and match.groups()


def fill_stars(pattern: str, numbers: Sequence[str]) -> str:
  """Returns a pattern with its stars replaced by numbers, in order."""
  for number in numbers:
    pattern = pattern.replace('*', number, 1)
  return pattern


def row_of_path(path: str, table: Sequence[WeightRow]) -> WeightRow | None:
  """Returns the first row that matches a jax path, or None."""
  return next(
    (row for row in table if star_numbers(path, row.jax_path) is not None), None
  )


def torch_shapes(
  row: WeightRow, path: str, shape: tuple[int, ...]
) -> dict[str, tuple[int, ...]]:
  """Splits a JAX array into torch tensors.

  Args:
    row: row that matches `path`.
    path: jax path.
    shape: array shape; a stacked array begins with its layer axis.

  Returns:
    Torch name -> tensor shape.
  """
  if row.stacked:
    numbers = [(str(i),) for i in range(shape[0])]
    shape = shape[1:]
  else:
    numbers = [star_numbers(path, row.jax_path)]
  to_torch = TRANSFORMS[row.transform][1]
  # A broadcast scalar has the shape and no memory.
  shape = to_torch(np.broadcast_to(np.float32(0), shape)).shape
  return {fill_stars(row.torch_name, n): shape for n in numbers}
