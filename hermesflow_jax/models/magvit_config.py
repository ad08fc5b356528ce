"""Sizes of MAGVIT-v2."""

import dataclasses

from hermesflow_jax.runtime import settings


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
