"""How fast a run is said to be: what is of use counts, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_unified
import tiny
import tiny_questions

from hermesflow_jax.models import flop_count
from hermesflow_jax.pair_dpo import answer_rows
from hermesflow_jax.pair_dpo import official_defects
from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.pair_dpo import pair_log_likelihood
from hermesflow_jax.pair_dpo import record_rows
from hermesflow_jax.pair_dpo import throughput
from hermesflow_jax.sequences import mask_schedules

MASKS = 3
CONFIG = tiny.sizes()


def record(fit=None, compat=official_defects.OfficialDefects(), **changes):
  """Arrays of one homologous record."""
  rng = np.random.default_rng(0)
  codes = rng.integers(0, 16, (3, tiny.IMAGE_TOKENS))
  values = {
    'id': 'a',
    'caption': 'two green star',
    'codes': codes[0],
    'caption_win': 'a red circle',
    'caption_lose': 'blue square',
    'codes_win': codes[1],
    'codes_lose': codes[2],
    'caption_dropped': '',
    'image_dropped': '',
  } | changes
  make = record_rows.make_transform(
    tiny.vocab(), tiny.text(), tiny.LENGTHS, 0.0, compat, fit
  )
  return make(values, rng)


def passes(row, masked=tiny.IMAGE_TOKENS):
  return (
    throughput.image_pair_work(CONFIG, row, MASKS, masked),
    throughput.caption_pair_work(CONFIG, row),
  )


def test_what_is_of_use_is_what_is_executed_where_nothing_is_padded():
  """But for keys that tokens do not see, which is little in long rows."""
  row = record(packing.PackedLengths(6, 4), caption_lose='a blue square')
  batch = jax.tree.map(lambda a: np.asarray(a)[None], row['packed'])
  assert batch.caption.valid.all() and batch.replied.all()
  masked = jnp.ones((1, MASKS, tiny.IMAGE_TOKENS), bool)
  model = jax.eval_shape(tiny.show_o, jax.random.key(0))
  executed = flop_count.count_flops(
    lambda m: pair_log_likelihood.pair_logps(m, batch, masked, 512)[0], model
  ).flops
  images, captions = passes(row)
  useful = images.flops + captions.flops
  assert useful == pytest.approx(executed, rel=0.05) and useful < executed


def test_pads_count_nothing():
  """What a row is cut to, and pads within it."""
  tight, wide = (
    record(packing.PackedLengths(6, 4)),
    record(packing.PackedLengths(9, 5)),
  )
  assert tight['packed'].replies.shape != wide['packed'].replies.shape
  assert passes(tight) == passes(wide)


def test_labels_count_and_codes_that_are_shown_do_not():
  row = record()
  few, many = (passes(row, masked)[0].flops for masked in (1.0, 4.0))
  label = flop_count.head_flops(CONFIG.decoder, 1, CONFIG.vocab.size)
  assert many - few == pytest.approx(2 * MASKS * 3 * label)


def test_a_pair_that_is_not_there_counts_nothing():
  whole, part = passes(record()), passes(record(image_dropped='x'))
  assert part == (throughput.ForwardWork(), whole[1])
  part = passes(record(caption_dropped='x'))
  assert part == (whole[0], throughput.ForwardWork())


def test_rows_of_their_own_do_more_for_the_same_labels():
  """The image is read by both replies, the caption by each side's codes."""
  packed = passes(record())
  apart = passes(
    record(compat=official_defects.OfficialDefects(separate_drops=True))
  )
  for shared, other in zip(packed, apart, strict=True):
    assert shared.tokens < other.tokens < MASKS * 2 * shared.tokens
    assert shared.flops < other.flops
  image, words = 3 + tiny.IMAGE_TOKENS, 4 + 3
  prompt = apart[1].tokens / 2 - image - words / 2
  assert packed[1].tokens == image + prompt + words - 2


@pytest.mark.parametrize(
  'changes, images, captions',
  [
    ({}, 4, 3),
    ({'captions_again': True}, 4, 4),
    ({'images_again': False}, 3, 3),
    ({'passes': 2}, 3, 2),
  ],
)
def test_a_step_is_passes_of_a_batch(changes, images, captions):
  rows = [record(), record(caption_dropped='x')]
  actual = throughput.useful_work(
    CONFIG,
    rows,
    batch=8,
    masked=2.0,
    masks=MASKS,
    **{'images_again': True, 'captions_again': False} | changes,
  )
  expected = [0.0, 0.0]
  for row in rows:
    drawn, written = passes(row, 2.0)
    expected[0] += 4 * (drawn.tokens + written.tokens)
    expected[1] += 4 * (images * drawn.flops + captions * written.flops)
  assert (actual.tokens, actual.flops) == pytest.approx(tuple(expected))
  assert actual(10, 5.0)['speed/pairs_per_second'] == 16


def test_the_mean_of_a_schedule_is_that_of_its_draws():
  assert mask_schedules.mean_ratio(mask_schedules.cosine) == pytest.approx(
    2 / np.pi, rel=1e-4
  )
  assert mask_schedules.mean_ratio(mask_schedules.linear) == pytest.approx(
    0.5, rel=1e-4
  )


def test_answers_count_without_pads_and_their_image_once():
  unified = small_unified.unified_on(tiny.show_o(jax.random.key(0)))
  inputs = tiny_questions.inputs_of(tiny_questions.QUESTIONS)
  first, second, _ = answer_rows.read_questions(unified, inputs)
  lengths = answer_rows.row_lengths([first, second])
  make_row = answer_rows.make_transform(unified, lengths)
  image = tiny.IMAGE_TOKENS + 3
  for question in (first, second):
    prompt = 1 + len(question.prompt)
    row = make_row(question, answer_rows.all_answers(question, lengths.count))
    texts = sum(prompt + len(answer) for answer in question.answers)
    assert throughput.answer_work(CONFIG, row).tokens == image + texts
