"""Sizes and numerics of the Phi decoder; imports no flax."""

import dataclasses
import typing

import jax

from hermesflow_jax.models import attention
from hermesflow_jax.runtime import settings

# Activations of a block that are kept for the backward pass: all, none, or only
# the products with weights.
REMAT = ('none', 'full', 'dots')
Backend = typing.Annotated[str, settings.one_of(*attention.BACKENDS)]


@dataclasses.dataclass(frozen=True)
class PhiConfig:
  """Decoder sizes and numerics.

  Attributes:
    width: D, residual stream width.
    layers: L, block count.
    heads: N, attention heads; each has `width // heads` channels.
    mlp: F, MLP width.
    rotary_fraction: rotating fraction of a head, 0 to 1.
    rope_theta: rotary frequency base.
    norm_eps: LayerNorm epsilon.
    remat: rematerialization policy, an entry in REMAT.
    unroll: blocks per iteration of the scan over layers.
    attention: attention backend, an entry in `attention.BACKENDS`.
    dtype: 'float32' or 'bfloat16', for activations and matrix products;
      parameters, norms and softmaxes are float32.

  Raises:
    ValueError: a setting is invalid.
  """

  width: settings.PositiveInt = 2048
  layers: settings.PositiveInt = 24
  heads: settings.PositiveInt = 32
  mlp: settings.PositiveInt = 8192
  rotary_fraction: settings.Fraction = 0.5
  rope_theta: settings.PositiveFloat = 10_000.0
  norm_eps: settings.PositiveFloat = 1e-5
  # These three change no more than a device mesh does: the rounding of sums.
  remat: typing.Annotated[str, settings.one_of(*REMAT)] = (
    settings.may_change_on_resume(default='none')
  )
  unroll: settings.PositiveInt = settings.may_change_on_resume(default=1)
  attention: Backend = settings.may_change_on_resume(default='xla')
  dtype: typing.Annotated[str, settings.one_of('float32', 'bfloat16')] = (
    settings.numerics(default='float32')
  )

  def __post_init__(self):
    # A dtype object is replaced by its name.
    if not isinstance(self.dtype, str):
      object.__setattr__(self, 'dtype', jax.numpy.dtype(self.dtype).name)
    settings.check(self)
    if self.attention == 'cudnn' and self.dtype != 'bfloat16':
      raise ValueError(
        f"dtype must be 'bfloat16' with attention 'cudnn', got {self.dtype!r}"
      )
    if self.width % self.heads:
      raise ValueError(
        f'width must be a multiple of heads ({self.heads}), got {self.width}'
      )

  @property
  def head_size(self) -> int:
    """H, the channels per head."""
    return self.width // self.heads

  @property
  def rotary_size(self) -> int:
    """Rotated channels per head; even."""
    return int(self.rotary_fraction * self.head_size) // 2 * 2
