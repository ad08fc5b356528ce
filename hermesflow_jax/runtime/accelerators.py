"""TPU chips and slices of them."""

import dataclasses
import math
import re


@dataclasses.dataclass(frozen=True)
class Chip:
  """What one chip can do; decimal units (docs.cloud.google.com/tpu/docs).

  Attributes:
    name: as topologies call it.
    accelerator: as accelerator types call it.
    flops: bfloat16 products, a second.
    memory: bytes of HBM.
    bandwidth: bytes of HBM read or written, a second.
    network: bytes to other chips of the slice, one way, a second.
    axes: of its torus.
  """

  name: str
  accelerator: str
  flops: float
  memory: float
  bandwidth: float
  network: float
  axes: int


CHIPS = {
  chip.name: chip
  for chip in (
    Chip('v5e', 'v5litepod', 197e12, 16e9, 819e9, 200e9, 2),
    Chip('v6e', 'v6e', 918e12, 32e9, 1638e9, 400e9, 2),
    Chip('v5p', 'v5p', 459e12, 95e9, 2765e9, 600e9, 3),
  )
}


@dataclasses.dataclass(frozen=True)
class Slice:
  """Some chips with a network of their own.

  Attributes:
    chip: of which kind.
    shape: chips along each axis of the torus.
  """

  chip: Chip
  shape: tuple[int, ...]

  @property
  def count(self) -> int:
    """How many chips."""
    return math.prod(self.shape)

  @property
  def name(self) -> str:
    """As `parse_slice` reads it, e.g. 'v5e:16x16'."""
    return f'{self.chip.name}:{"x".join(map(str, self.shape))}'


def parse_slice(text: str) -> Slice:
  """Reads 'v5e:16x16'.

  Raises:
    ValueError: there is no such chip, or a slice of it has no such shape.
  """
  name, _, sides = text.partition(':')
  if name not in CHIPS:
    raise ValueError(
      f'topology {text!r}: wanted {", ".join(CHIPS)} and a shape, e.g. '
      'v5e:16x16'
    )
  axes = CHIPS[name].axes
  if not re.fullmatch(r'[1-9]\d*(x[1-9]\d*)*', sides) or (
    sides.count('x') + 1 != axes
  ):
    raise ValueError(
      f'topology {text!r}: a slice of {name} has {axes} sides, e.g. '
      f'{name}:{"x".join(["4"] * axes)}'
    )
  return Slice(CHIPS[name], tuple(map(int, sides.split('x'))))


# bfloat16 products a second of one device, without sparsity, by the beginning
# of its kind; of the makers' data sheets.
PEAKS = {
  'TPU v5 lite': 197e12,
  'TPU v5e': 197e12,
  'TPU v5p': 459e12,
  'TPU v5': 459e12,
  'TPU v6 lite': 918e12,
  'TPU v6e': 918e12,
  'NVIDIA A100': 312e12,
  'NVIDIA H100': 989e12,
  'NVIDIA H200': 989e12,
}


def peak_flops(kind: str) -> float | None:
  """Returns the peak of a kind of device, or None if it is not known."""
  for name, peak in PEAKS.items():
    if kind.startswith(name):
      return peak
  return None
