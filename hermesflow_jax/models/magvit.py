"""MAGVIT-v2: images to codes and codes to images.

The image half of Language Model Beats Diffusion (arXiv 2310.05737), in the
sizes and weights of Show-o (arXiv 2408.12528): a convolutional encoder, bits
by lookup-free quantization (lfq.py), a convolutional decoder. Images are
[..., H, W, C]; module names are those of the PyTorch checkpoints.
"""

import dataclasses
import functools

from flax import nnx
import jax
import jax.numpy as jnp

from hermesflow_jax import settings
from hermesflow_jax.models import lfq


@dataclasses.dataclass(frozen=True)
class MagvitConfig:
  """Sizes of the tokenizer.

  Attributes:
    ch: width that the multipliers multiply.
    encoder_ch_mult: width multiplier of each level, full resolution first.
    decoder_ch_mult: the same for the decoder, full resolution first; it is
      run from the last to the first.
    encoder_num_res_blocks: residual blocks of each encoder level.
    decoder_num_res_blocks: residual blocks of each decoder level.
    z_channels: Z, bits of a code.
    patch: pixels of patch x patch are folded into channels before the first
      convolution and unfolded after the last. 1 is the official model; more
      spares the blocks at full resolution.
    mid_attention: attention between the two middle blocks.
    num_groups: groups of every group norm; 0 leaves the norms out.
    kernel: side of the square convolutions that keep the resolution, 3 in the
      official model. With 1 and one level a code sees only its own patch.
  """

  ch: int
  encoder_ch_mult: tuple[int, ...]
  decoder_ch_mult: tuple[int, ...]
  encoder_num_res_blocks: tuple[int, ...]
  decoder_num_res_blocks: tuple[int, ...]
  z_channels: int
  patch: int = 1
  mid_attention: bool = True
  num_groups: int = 32
  kernel: int = 3

  def __post_init__(self):
    settings.require(
      self, {'ch': 1, 'z_channels': 1, 'patch': 1, 'num_groups': 0, 'kernel': 1}
    )
    levels = len(self.encoder_ch_mult)
    for name in (
      'decoder_ch_mult',
      'encoder_num_res_blocks',
      'decoder_num_res_blocks',
    ):
      if len(getattr(self, name)) != levels:
        raise ValueError(
          f'{name} has {len(getattr(self, name))} levels, encoder_ch_mult '
          f'{levels}'
        )
    if self.num_groups and self.ch % self.num_groups:
      raise ValueError(
        f'ch {self.ch} wants to be a multiple of num_groups {self.num_groups}'
      )

  @property
  def reduction(self) -> int:
    """Pixels along the side of one code."""
    return self.patch * 2 ** (len(self.encoder_ch_mult) - 1)

  @property
  def codebook_size(self) -> int:
    """Number of codes."""
    return 2**self.z_channels


SHOW_O = MagvitConfig(
  ch=128,
  encoder_ch_mult=(1, 2, 2, 4, 4),
  decoder_ch_mult=(1, 1, 2, 2, 4),
  encoder_num_res_blocks=(4, 3, 4, 3, 4),
  decoder_num_res_blocks=(4, 4, 3, 4, 3),
  z_channels=13,
)


class Magvit(nnx.Module):
  """The tokenizer. Parameters are float32, convolutions compute in `dtype`.

  Products and convolutions have precision 'highest' on every device, whatever
  `jax_default_matmul_precision` is.
  """

  def __init__(
    self, config: MagvitConfig, rngs: nnx.Rngs, dtype: jnp.dtype = jnp.float32
  ):
    self.config = config
    self.encoder = Encoder(config, dtype, rngs)
    self.decoder = Decoder(config, dtype, rngs)

  @property
  def reduction(self) -> int:
    """Pixels along the side of one code."""
    return self.config.reduction

  def encode(self, pixels: jax.Array) -> jax.Array:
    """Latents of images.

    Args:
      pixels: float[..., H, W, 3] in [-1, 1]; H and W multiples of reduction.

    Returns:
      z: float32[..., H / reduction, W / reduction, Z].

    Raises:
      ValueError: for other shapes.
    """
    *_, height, width, channels = pixels.shape
    if (
      channels != 3
      or not height
      or not width
      or height % self.reduction
      or width % self.reduction
    ):
      raise ValueError(
        f'pixels: found shape {pixels.shape}, wanted [..., H, W, 3] with H '
        f'and W multiples of {self.reduction}'
      )
    return _flat_batch(self.encoder, pixels)

  def codes(self, z: jax.Array) -> jax.Array:
    """Codes of latents: float[..., h, w, Z] -> int32[..., h, w]."""
    return lfq.pack(z)

  def decode(self, codes: jax.Array) -> jax.Array:
    """Images of codes.

    Args:
      codes: int[..., h, w] in [0, 2^Z).

    Returns:
      float32[..., h reduction, w reduction, 3], about [-1, 1], not clipped.
    """
    return self.decode_latents(lfq.unpack(codes, self.config.z_channels))

  def decode_latents(self, bits: jax.Array) -> jax.Array:
    """Images of bits: float[..., h, w, Z] of -1 and +1, else as `decode`."""
    return _flat_batch(self.decoder, bits)


class Encoder(nnx.Module):
  """Pixels to latents."""

  def __init__(self, config: MagvitConfig, dtype, rngs: nnx.Rngs):
    widths = [config.ch * m for m in config.encoder_ch_mult]
    self.patch = config.patch
    self.conv_in = _conv(3 * config.patch**2, config.ch, config, dtype, rngs)
    levels, before = [], config.ch
    for i, (width, blocks) in enumerate(
      zip(widths, config.encoder_num_res_blocks)
    ):
      last = i == len(widths) - 1
      levels.append(
        Level(
          before,
          width,
          blocks,
          None if last else 'downsample',
          config,
          dtype,
          rngs,
        )
      )
      before = width
    self.down = nnx.List(levels)
    self.mid = Middle(before, config, dtype, rngs)
    self.norm_out = _norm(before, config, rngs)
    self.conv_out = _conv(before, config.z_channels, config, dtype, rngs)
    self.quant_conv = nnx.Linear(
      config.z_channels, config.z_channels, dtype=dtype, rngs=rngs
    )

  def __call__(self, pixels: jax.Array) -> jax.Array:
    """float[B, H, W, 3] -> float[B, h, w, Z]."""
    x = self.conv_in(space_to_depth(pixels, self.patch))
    for level in self.down:
      x = level(x)
    x = self.mid(x)
    return self.quant_conv(self.conv_out(nnx.silu(self.norm_out(x))))


class Decoder(nnx.Module):
  """Bits to pixels."""

  def __init__(self, config: MagvitConfig, dtype, rngs: nnx.Rngs):
    widths = [config.ch * m for m in config.decoder_ch_mult]
    self.patch = config.patch
    self.post_quant_conv = nnx.Linear(
      config.z_channels, config.z_channels, dtype=dtype, rngs=rngs
    )
    before = widths[-1]
    self.conv_in = _conv(config.z_channels, before, config, dtype, rngs)
    self.mid = Middle(before, config, dtype, rngs)
    levels = []
    for i in reversed(range(len(widths))):
      levels.append(
        Level(
          before,
          widths[i],
          config.decoder_num_res_blocks[i],
          'upsample' if i else None,
          config,
          dtype,
          rngs,
        )
      )
      before = widths[i]
    self.up = nnx.List(levels[::-1])
    self.norm_out = _norm(before, config, rngs)
    self.conv_out = _conv(before, 3 * config.patch**2, config, dtype, rngs)

  def __call__(self, bits: jax.Array) -> jax.Array:
    """float[B, h, w, Z] -> float[B, H, W, 3]."""
    x = self.mid(self.conv_in(self.post_quant_conv(bits)))
    for level in reversed(self.up):
      x = level(x)
    x = self.conv_out(nnx.silu(self.norm_out(x)))
    return depth_to_space(x, self.patch)


class Level(nnx.Module):
  """Residual blocks of one resolution, then a change to the next one."""

  def __init__(
    self,
    before,
    width,
    blocks,
    resample,
    config: MagvitConfig,
    dtype,
    rngs: nnx.Rngs,
  ):
    self.block = nnx.List(
      [
        ResidualBlock(before if i == 0 else width, width, config, dtype, rngs)
        for i in range(blocks)
      ]
    )
    if resample == 'downsample':
      self.downsample = Downsample(width, dtype, rngs)
    if resample == 'upsample':
      self.upsample = Upsample(width, config, dtype, rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """float[B, H, W, before] -> float[B, H', W', width]."""
    for block in self.block:
      x = block(x)
    if hasattr(self, 'downsample'):
      x = self.downsample(x)
    if hasattr(self, 'upsample'):
      x = self.upsample(x)
    return x


class Middle(nnx.Module):
  """Block, attention, block at the resolution of the codes."""

  def __init__(self, width, config: MagvitConfig, dtype, rngs: nnx.Rngs):
    self.block_1 = ResidualBlock(width, width, config, dtype, rngs)
    if config.mid_attention:
      self.attn_1 = Attention(width, config, dtype, rngs)
    self.block_2 = ResidualBlock(width, width, config, dtype, rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """float[B, h, w, D] -> float[B, h, w, D]."""
    x = self.block_1(x)
    if hasattr(self, 'attn_1'):
      x = self.attn_1(x)
    return self.block_2(x)


class ResidualBlock(nnx.Module):
  """Norm, swish, convolution, twice, beside a shortcut."""

  def __init__(
    self, before, width, config: MagvitConfig, dtype, rngs: nnx.Rngs
  ):
    self.norm1 = _norm(before, config, rngs)
    self.conv1 = _conv(before, width, config, dtype, rngs)
    self.norm2 = _norm(width, config, rngs)
    self.conv2 = _conv(width, width, config, dtype, rngs)
    if before != width:
      self.nin_shortcut = nnx.Linear(before, width, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """float[B, H, W, before] -> float[B, H, W, width]."""
    y = self.conv1(nnx.silu(self.norm1(x)))
    y = self.conv2(nnx.silu(self.norm2(y)))
    return y + (self.nin_shortcut(x) if hasattr(self, 'nin_shortcut') else x)


class Attention(nnx.Module):
  """One head of attention over all positions of an image."""

  def __init__(self, width, config: MagvitConfig, dtype, rngs: nnx.Rngs):
    linear = functools.partial(nnx.Linear, width, width, dtype=dtype, rngs=rngs)
    self.norm = _norm(width, config, rngs)
    self.q, self.k, self.v = linear(), linear(), linear()
    self.proj_out = linear()

  def __call__(self, x: jax.Array) -> jax.Array:
    """float[B, h, w, D] -> float[B, h, w, D]."""
    y = self.norm(x).reshape(*x.shape[:-3], -1, x.shape[-1])
    scores = jnp.einsum(
      '...td,...sd->...ts',
      self.q(y),
      self.k(y),
      preferred_element_type=jnp.float32,
    )
    weights = jax.nn.softmax(scores * x.shape[-1] ** -0.5, axis=-1)
    v = self.v(y)
    y = jnp.einsum('...ts,...sd->...td', weights.astype(v.dtype), v)
    return x + self.proj_out(y).reshape(x.shape)


class Downsample(nnx.Module):
  """Halves the resolution by a strided convolution."""

  def __init__(self, width, dtype, rngs: nnx.Rngs):
    # One zero row and column at the bottom and the right, none before.
    self.conv = nnx.Conv(
      width,
      width,
      (3, 3),
      strides=2,
      padding=((0, 1), (0, 1)),
      dtype=dtype,
      rngs=rngs,
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    """float[B, H, W, D] -> float[B, H / 2, W / 2, D]."""
    return self.conv(x)


class Upsample(nnx.Module):
  """Doubles the resolution by repeated pixels, then a convolution."""

  def __init__(self, width, config: MagvitConfig, dtype, rngs: nnx.Rngs):
    self.conv = _conv(width, width, config, dtype, rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """float[B, H, W, D] -> float[B, 2 H, 2 W, D]."""
    return self.conv(jnp.repeat(jnp.repeat(x, 2, axis=-3), 2, axis=-2))


def space_to_depth(x: jax.Array, patch: int) -> jax.Array:
  """[..., H, W, C] -> [..., H / patch, W / patch, patch patch C]."""
  *batch, height, width, channels = x.shape
  x = x.reshape(*batch, height // patch, patch, width // patch, patch, channels)
  x = jnp.swapaxes(x, -4, -3)
  return x.reshape(
    *batch, height // patch, width // patch, patch * patch * channels
  )


def depth_to_space(x: jax.Array, patch: int) -> jax.Array:
  """The inverse of `space_to_depth`."""
  *batch, height, width, depth = x.shape
  x = x.reshape(*batch, height, width, patch, patch, depth // patch**2)
  x = jnp.swapaxes(x, -4, -3)
  return x.reshape(*batch, height * patch, width * patch, depth // patch**2)


def _flat_batch(module, x: jax.Array) -> jax.Array:
  """Applies a module of [B, H, W, C] to float[..., H, W, C], in float32 out.

  Group norm of flax wants just one batch axis. TPUs multiply float32 in
  bfloat16 unless they are told otherwise, and then 7% of the codes of an image
  change. Training uses the same precision, so that a tokenizer learns from the
  codes that it is used with.
  """
  with jax.default_matmul_precision('highest'):
    y = module(x.reshape(-1, *x.shape[-3:]))
  return y.reshape(*x.shape[:-3], *y.shape[-3:]).astype(jnp.float32)


def _conv(
  before, width, config: MagvitConfig, dtype, rngs: nnx.Rngs
) -> nnx.Conv:
  """A convolution that keeps the resolution."""
  return nnx.Conv(
    before, width, (config.kernel, config.kernel), dtype=dtype, rngs=rngs
  )


def _norm(width, config: MagvitConfig, rngs: nnx.Rngs):
  """A float32 group norm over each image, or nothing."""
  if not config.num_groups:
    return Identity()
  return nnx.GroupNorm(
    width,
    num_groups=config.num_groups,
    epsilon=1e-6,
    dtype=jnp.float32,
    use_fast_variance=False,
    rngs=rngs,
  )


class Identity(nnx.Module):
  """Returns what it is given."""

  def __call__(self, x: jax.Array) -> jax.Array:
    """float[...] -> float[...]."""
    return x
