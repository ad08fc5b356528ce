"""The same preference pairs as plain rows and as packed rows."""

import functools

import numpy as np
import tiny

from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.runtime import batching
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import text_to_image

PROMPT = 'user : give a caption for this image . assistant'


FIT = packing.PackedLengths(tiny.LENGTHS.max_text, tiny.LENGTHS.reply)


RECORDS = (
  ('two blue square', 'one red circle', 'green star'),
  ('', 'star', 'two red circle one'),
  ('green', 'green star one', 'red'),
)


@functools.cache
def batches():
  """(plain batch, packed batch) of the same records; one has no condition."""
  plain, packed = [], []
  lengths, rng = tiny.LENGTHS, np.random.default_rng(0)
  for caption, win, lose in RECORDS:
    caption, win, lose, prompt = tiny.text().encode(
      [caption, win, lose, PROMPT]
    )
    drawn, real = np.split(rng.integers(0, 16, (3, tiny.IMAGE_TOKENS)), [2])
    plain.append(
      {
        't2i': text_to_image.t2i_rows(
          tiny.vocab(), [caption] * 2, drawn, lengths.max_text
        ),
        'mmu': image_to_text.mmu_rows(
          tiny.vocab(),
          np.repeat(real, 2, 0),
          [prompt] * 2,
          [win, lose],
          lengths.mmu,
        ),
      }
    )
    packed.append(
      packing.pack_record(
        tiny.vocab(),
        caption,
        drawn,
        real[0],
        prompt,
        [win, lose],
        lengths.max_text,
        FIT,
      )
    )
  return batching.stack(plain), batching.stack(packed)
