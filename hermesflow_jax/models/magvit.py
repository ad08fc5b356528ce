"""MAGVIT-v2 image tokenizer: converts images to codes and back.

The image tokenizer of Language Model Beats Diffusion (arXiv 2310.05737) as
used by Show-o (arXiv 2408.12528): a convolutional encoder, lookup-free
quantization to bits, a convolutional decoder. Images are [..., H, W, C].
Modules are named as in the PyTorch checkpoints.
"""

from flax import nnx
import jax
import jax.numpy as jnp

from hermesflow_jax.models import lfq
from hermesflow_jax.models import magvit_blocks
from hermesflow_jax.models import magvit_config


class Magvit(nnx.Module):
  """Image tokenizer with float32 parameters; convolutions use `dtype`.

  Products and convolutions always have precision 'highest', independent of
  `jax_default_matmul_precision`.
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
    """Code side in pixels."""
    return self.config.reduction

  def encode(self, pixels: jax.Array) -> jax.Array:
    """Encodes images to latents.

    Args:
      pixels: float[..., H, W, 3] in [-1, 1]; H and W are multiples of
        `reduction`.

    Returns:
      float32[..., H / reduction, W / reduction, Z], latents.

    Raises:
      ValueError: `pixels` has another shape.
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
        'pixels must have shape [..., H, W, 3] with H and W multiples of '
        f'{self.reduction}, got {pixels.shape}'
      )
    return magvit_blocks.flat_batch(self.encoder, pixels)

  def codes(self, z: jax.Array) -> jax.Array:
    """Quantizes latents float[..., h, w, Z] to codes int32[..., h, w]."""
    return lfq.pack(z)

  def decode(self, codes: jax.Array) -> jax.Array:
    """Decodes codes to images.

    Args:
      codes: int[..., h, w] in [0, 2^Z).

    Returns:
      float32[..., h reduction, w reduction, 3], pixels in about [-1, 1], not
      clipped.
    """
    return self.decode_latents(lfq.unpack(codes, self.config.z_channels))

  def decode_latents(self, bits: jax.Array) -> jax.Array:
    """Decodes bits float[..., h, w, Z] (-1 and +1) to images; see `decode`."""
    return magvit_blocks.flat_batch(self.decoder, bits)


class Encoder(nnx.Module):
  """Convolutional encoder from pixels to latents."""

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
    """Maps pixels float[B, H, W, 3] to latents float[B, h, w, Z]."""
    x = self.conv_in(magvit_blocks.space_to_depth(pixels, self.patch))
    for level in self.down:
      x = level(x)
    x = self.mid(x)
    return self.quant_conv(self.conv_out(nnx.silu(self.norm_out(x))))


class Decoder(nnx.Module):
  """Convolutional decoder from bits to pixels."""

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
    """Maps bits float[B, h, w, Z] to pixels float[B, H, W, 3]."""
    x = self.mid(self.conv_in(self.post_quant_conv(bits)))
    for level in reversed(self.up):
      x = level(x)
    x = self.conv_out(nnx.silu(self.norm_out(x)))
    return magvit_blocks.depth_to_space(x, self.patch)
