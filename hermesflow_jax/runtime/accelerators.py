"""Accelerators: peak rates of chips, and slices of TPU chips."""

import dataclasses
import math
import re


@dataclasses.dataclass(frozen=True)
class Chip:
  """Rates and sizes of one chip, in decimal units, from the maker's data sheet.

  TPUs: docs.cloud.google.com/tpu/docs.

  Attributes:
    name: name in topologies, e.g. 'v5e'.
    kinds: prefixes in `jax.Device.device_kind`.
    flops: bfloat16 operations per second, without sparsity.
    accelerator: name in accelerator types, e.g. 'v5litepod'.
    memory: HBM bytes.
    bandwidth: HBM bytes read or written per second.
    network: bytes per second to other chips of the slice, one way.
    axes: axes of the torus of a slice; 0 for a chip without slices, for which
      the fields above from `accelerator` on are not listed.
  """

  name: str
  kinds: tuple[str, ...]
  flops: float
  accelerator: str = ''
  memory: float = math.nan
  bandwidth: float = math.nan
  network: float = math.nan
  axes: int = 0


_V5E = ('TPU v5 lite', 'TPU v5e')
_V6E = ('TPU v6 lite', 'TPU v6e')
# After v5e, whose kinds begin with 'TPU v5', too.
_V5P = ('TPU v5p', 'TPU v5')

CHIPS = {
  chip.name: chip
  for chip in (
    Chip('v5e', _V5E, 197e12, 'v5litepod', 16e9, 819e9, 200e9, 2),
    Chip('v6e', _V6E, 918e12, 'v6e', 32e9, 1638e9, 400e9, 2),
    Chip('v5p', _V5P, 459e12, 'v5p', 95e9, 2765e9, 600e9, 3),
    Chip('A100', ('NVIDIA A100',), 312e12),
    Chip('H100', ('NVIDIA H100',), 989e12),
    Chip('H200', ('NVIDIA H200',), 989e12),
  )
}


@dataclasses.dataclass(frozen=True)
class Slice:
  """Chips with a network of their own.

  Attributes:
    chip: the chips' kind.
    shape: chips along each axis of the torus.
  """

  chip: Chip
  shape: tuple[int, ...]

  @property
  def count(self) -> int:
    """Chip count."""
    return math.prod(self.shape)

  @property
  def name(self) -> str:
    """Name that `parse_slice` reads, e.g. 'v5e:16x16'."""
    return f'{self.chip.name}:{"x".join(map(str, self.shape))}'


def parse_slice(text: str) -> Slice:
  """Reads a topology, e.g. 'v5e:16x16'.

  Args:
    text: '<chip>:<sides>', with a side for each axis of the chip's torus.

  Raises:
    ValueError: the chip is not known, or its slices have other axes.
  """
  name, _, sides = text.partition(':')
  names = [chip.name for chip in CHIPS.values() if chip.axes]
  if name not in names:
    raise ValueError(
      f'topology must be one of {", ".join(names)} and a shape, e.g. '
      f'v5e:16x16, got {text!r}'
    )
  axes = CHIPS[name].axes
  if not re.fullmatch(r'[1-9]\d*(x[1-9]\d*)*', sides) or (
    sides.count('x') + 1 != axes
  ):
    raise ValueError(
      f'topology of {name} must have {axes} sides, e.g. '
      f'{name}:{"x".join(["4"] * axes)}, got {text!r}'
    )
  return Slice(CHIPS[name], tuple(map(int, sides.split('x'))))


def peak_flops(kind: str) -> float | None:
  """Returns the peak rate of a device in bfloat16 operations per second.

  Args:
    kind: `jax.Device.device_kind`.

  Returns:
    The rate; None if the kind of device is not known.
  """
  for chip in CHIPS.values():
    if kind.startswith(chip.kinds):
      return chip.flops
  return None
