"""The main job's programs compute little that is not read: by their FLOPs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.models import abstract_modules
from hermesflow_jax.models import flop_count
from hermesflow_jax.models import showo
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import masked_steps
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_to_image

STEPS, IMAGES, CODES, TEXT = 16, 4, 16, 14
COUNTS = mask_schedules.schedule_counts(STEPS, CODES, mask_schedules.cosine)


@pytest.fixture(scope='module')
def shipped():
  """The shipped model as shapes."""
  config = initial_model.open(initial_model.ASSETS / 'shapes').config()
  return abstract_modules.abstract_module(showo.ShowO, config)


def test_images_compute_few_codes_that_are_known(shipped):
  """Of a step's work: the last block and the head are for masked codes."""
  text = text_to_image.t2i_prefix(shipped.config.vocab, [[1] * 12, []], TEXT)
  row, empty = (jax.tree.map(lambda a, n=n: a[n], text) for n in (0, 1))
  draw = functools.partial(
    batched.draw_images,
    known_codes=None,
    empty=empty,
    counts=tuple(COUNTS.tolist()),
    config=maskgit.MaskGITSampler(STEPS, 0.5),
    skipped=0,
  )
  actual = flop_count.count_flops(
    draw,
    shipped,
    jax.ShapeDtypeStruct((IMAGES, 1, 2), jnp.uint32),
    jax.tree.map(lambda a: np.stack([a] * IMAGES), row),
  ).flops
  decoder, rows = shipped.config.decoder, CODES + 2
  step = flop_count.decoder_flops(decoder, rows, rows + TEXT + 1)
  codebook = shipped.config.vocab.codebook_size
  head = flop_count.head_flops(decoder, CODES, codebook)
  everything = IMAGES * STEPS * (2 * step + head)
  # The first block, but for attention, once for both branches: 0.85.
  assert actual < 0.79 * everything


def test_steps_leave_out_most_known_codes():
  most = masked_steps.most_masked(COUNTS, CODES)
  assert most == list(range(16, 0, -1))
  work = masked_steps.work_of_steps(COUNTS, CODES, 0, (True,) * STEPS)
  assert sum(computed for _, computed in work) < 0.66 * CODES * STEPS
  assert len(set(work)) == 4
