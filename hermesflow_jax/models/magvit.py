"""MAGVIT-v2: images to codes and codes to images.

The image half of Language Model Beats Diffusion (arXiv 2310.05737), in the
sizes and weights of Show-o (arXiv 2408.12528): a convolutional encoder, bits
by lookup-free quantization (lfq.py), a convolutional decoder. Images are
[..., H, W, C]; module names are those of the PyTorch checkpoints.
"""

from flax import nnx
import jax
import jax.numpy as jnp

from hermesflow_jax.models import lfq
from hermesflow_jax.models import magvit_blocks
from hermesflow_jax.models import magvit_config


class Magvit(nnx.Module):
  """The tokenizer. Parameters are float32, convolutions compute in `dtype`.

  Products and convolutions have precision 'highest' on every device, whatever
  `jax_default_matmul_precision` is.
  """

  def __init__(
    self,
    config: magvit_config.MagvitConfig,
    rngs: nnx.Rngs,
    dtype: jnp.dtype = jnp.float32,
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
    return magvit_blocks.flat_batch(self.encoder, pixels)

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
    return magvit_blocks.flat_batch(self.decoder, bits)


class Encoder(nnx.Module):
  """Pixels to latents."""

  def __init__(self, config: magvit_config.MagvitConfig, dtype, rngs: nnx.Rngs):
    widths = [config.ch * m for m in config.encoder_ch_mult]
    self.patch = config.patch
    self.conv_in = magvit_blocks.conv(
      3 * config.patch**2, config.ch, config, dtype, rngs
    )
    levels, before = [], config.ch
    for i, (width, blocks) in enumerate(
      zip(widths, config.encoder_num_res_blocks)
    ):
      last = i == len(widths) - 1
      levels.append(
        magvit_blocks.Level(
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
    self.mid = magvit_blocks.Middle(before, config, dtype, rngs)
    self.norm_out = magvit_blocks.norm(before, config, rngs)
    self.conv_out = magvit_blocks.conv(
      before, config.z_channels, config, dtype, rngs
    )
    self.quant_conv = nnx.Linear(
      config.z_channels, config.z_channels, dtype=dtype, rngs=rngs
    )

  def __call__(self, pixels: jax.Array) -> jax.Array:
    """float[B, H, W, 3] -> float[B, h, w, Z]."""
    x = self.conv_in(magvit_blocks.space_to_depth(pixels, self.patch))
    for level in self.down:
      x = level(x)
    x = self.mid(x)
    return self.quant_conv(self.conv_out(nnx.silu(self.norm_out(x))))


class Decoder(nnx.Module):
  """Bits to pixels."""

  def __init__(self, config: magvit_config.MagvitConfig, dtype, rngs: nnx.Rngs):
    widths = [config.ch * m for m in config.decoder_ch_mult]
    self.patch = config.patch
    self.post_quant_conv = nnx.Linear(
      config.z_channels, config.z_channels, dtype=dtype, rngs=rngs
    )
    before = widths[-1]
    self.conv_in = magvit_blocks.conv(
      config.z_channels, before, config, dtype, rngs
    )
    self.mid = magvit_blocks.Middle(before, config, dtype, rngs)
    levels = []
    for i in reversed(range(len(widths))):
      levels.append(
        magvit_blocks.Level(
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
    self.norm_out = magvit_blocks.norm(before, config, rngs)
    self.conv_out = magvit_blocks.conv(
      before, 3 * config.patch**2, config, dtype, rngs
    )

  def __call__(self, bits: jax.Array) -> jax.Array:
    """float[B, h, w, Z] -> float[B, H, W, 3]."""
    x = self.mid(self.conv_in(self.post_quant_conv(bits)))
    for level in reversed(self.up):
      x = level(x)
    x = self.conv_out(nnx.silu(self.norm_out(x)))
    return magvit_blocks.depth_to_space(x, self.patch)
