"""Settings of the measures of drawings; imports no network."""

import dataclasses
import typing

from hermesflow_jax.models import inception_pixels
from hermesflow_jax.runtime import settings


@dataclasses.dataclass(frozen=True)
class MeasureSettings:
  """What is measured about drawings of a benchmark without questions.

  Attributes:
    inception: folder that `conversions.convert inception` wrote; '' measures no
      Frechet distance.
    preparation: preparation of pixels, a key in
      `inception_pixels.PREPARATIONS`.
    reference: npz file with the statistics of real images, as pytorch-fid
      writes it; '' for the real images of the benchmark, with the preparation
      text2image_benchmark.
    clip: whether to measure the CLIP score, by `encoders.clip`.
    tokenizer: whether to measure a Frechet distance of the latents of the image
      tokenizer, where no Inception is at hand. It compares runs with the same
      tokenizer, and nothing else.
  """

  inception: str = settings.path_of_content('inception', default='')
  preparation: typing.Annotated[
    str, settings.one_of(*inception_pixels.PREPARATIONS)
  ] = 'text2image_benchmark'
  reference: str = settings.path_of_content('frechet_reference', default='')
  clip: bool = False
  tokenizer: bool = False

  def __post_init__(self):
    settings.check(self)
    if self.preparation != 'text2image_benchmark' and not self.reference:
      raise ValueError(
        'reference must be given with another preparation than '
        f"text2image_benchmark, got '' with {self.preparation}"
      )
