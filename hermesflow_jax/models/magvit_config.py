"""Sizes of the MAGVIT-v2 image tokenizer."""

import dataclasses

from hermesflow_jax.runtime import settings


@dataclasses.dataclass(frozen=True)
class MagvitConfig:
  """Tokenizer sizes.

  Attributes:
    ch: base width.
    encoder_ch_mult: width multiplier per encoder level, full resolution first.
    decoder_ch_mult: width multiplier per decoder level, full resolution first;
      the decoder runs the levels in reverse.
    encoder_num_res_blocks: residual blocks per encoder level.
    decoder_num_res_blocks: residual blocks per decoder level.
    z_channels: Z, bits per code.
    patch: patch x patch pixels are folded into channels before the first
      convolution and unfolded after the last. The official model has 1; larger
      patches save the blocks at full resolution.
    mid_attention: whether attention follows the first middle block.
    num_groups: groups per group norm; 0 disables norms.
    kernel: side of the convolutions that keep the resolution, 3 in the
      official model. With kernel 1 and a single level, a code depends only on
      its own patch.

  Raises:
    ValueError: a size is invalid, or the numbers of levels differ.
  """

  ch: settings.PositiveInt
  encoder_ch_mult: tuple[int, ...]
  decoder_ch_mult: tuple[int, ...]
  encoder_num_res_blocks: tuple[int, ...]
  decoder_num_res_blocks: tuple[int, ...]
  z_channels: settings.PositiveInt
  patch: settings.PositiveInt = 1
  mid_attention: bool = True
  num_groups: settings.NonNegativeInt = 32
  kernel: settings.PositiveInt = 3

  def __post_init__(self):
    settings.check(self)
    levels = len(self.encoder_ch_mult)
    for name in (
      'decoder_ch_mult',
      'encoder_num_res_blocks',
      'decoder_num_res_blocks',
    ):
      if len(getattr(self, name)) != levels:
        raise ValueError(
          f'{name} must have {levels} levels, as encoder_ch_mult, got '
          f'{len(getattr(self, name))}'
        )
    if self.num_groups and self.ch % self.num_groups:
      raise ValueError(
        f'ch must be a multiple of num_groups ({self.num_groups}), got '
        f'{self.ch}'
      )

  @property
  def reduction(self) -> int:
    """Code side in pixels."""
    return self.patch * 2 ** (len(self.encoder_ch_mult) - 1)

  @property
  def codebook_size(self) -> int:
    """Codebook size."""
    return 2**self.z_channels


SHOW_O = MagvitConfig(
  ch=128,
  encoder_ch_mult=(1, 2, 2, 4, 4),
  decoder_ch_mult=(1, 1, 2, 2, 4),
  encoder_num_res_blocks=(4, 3, 4, 3, 4),
  decoder_num_res_blocks=(4, 4, 3, 4, 3),
  z_channels=13,
)
