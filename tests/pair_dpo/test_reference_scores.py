"""Reference scores computed before training give the same loss."""

import dataclasses

import jax
import memory_growth
import numpy as np
import pytest
import tiny
import tiny_pairs

from hermesflow_jax.pair_dpo import pair_margins
from hermesflow_jax.pair_dpo import reference_scores
from hermesflow_jax.runtime import batching
from hermesflow_jax.sequences import mask_schedules


@pytest.fixture(scope='module')
def models():
  return tiny_pairs.models()


def referenced(model, fixed, shape=(1, 1)):
  rng = np.random.default_rng(0)
  return reference_scores.score_reference(
    model,
    tiny_pairs.NAMED,
    lambda r, dropped: tiny_pairs.named_transform(float(dropped))(r, rng),
    objective=dataclasses.replace(tiny_pairs.OBJECTIVE, fixed_masks=fixed),
    schedule=mask_schedules.cosine,
    image_tokens=tiny.IMAGE_TOKENS,
    seed=3,
    batch_size=8,
    chunk_size=9,
    mesh=tiny.mesh(*shape),
  )


loss = jax.jit(tiny_pairs.LOSS)
prepare = jax.jit(tiny_pairs.PREPARE)


@pytest.mark.parametrize('fixed', [False, True])
@pytest.mark.parametrize('drop', [0.0, 1.0])
def test_what_is_scored_before_costs_the_same(models, fixed, drop):
  policy, reference = models
  rows = referenced(reference, fixed)
  make, rng = tiny_pairs.named_transform(drop), np.random.default_rng(0)
  batch = prepare(batching.stack([make(r, rng) for r in rows]), tiny_pairs.KEY)
  inline = {k: v for k, v in batch.items() if not k.startswith('reference')}
  assert ('reference_t2i' in batch) == fixed
  actual = loss(policy, None if fixed else reference, batch)
  tiny_pairs.assert_close(actual, loss(policy, reference, inline), 1e-4)


def test_fixed_masks_are_of_the_record_alone(models):
  rows = referenced(models[1], True)
  masked = np.stack([r['masked'] for r in rows])
  assert masked.shape == (8, tiny_pairs.OBJECTIVE.masks, tiny.IMAGE_TOKENS)
  assert len({h.tobytes() for h in masked}) > 1
  other = referenced(models[0], True, (4, 2))
  np.testing.assert_array_equal([r['masked'] for r in other], masked)
  assert not np.allclose(other[0]['reference_t2i'], rows[0]['reference_t2i'])


def test_masks_do_not_depend_on_the_records_of_a_call(monkeypatch):
  def masks():
    return reference_scores.masks_of_records(
      list('abcde'), 3, masks=2, schedule=mask_schedules.cosine, image_tokens=4
    )

  expected = masks()
  monkeypatch.setattr(reference_scores, '_MASKED', 2)
  np.testing.assert_array_equal(masks(), expected)


def test_memory_holds_no_rows_of_all_records(monkeypatch):
  def no_scores(reference, tower, batch, *_, **options):
    scores = np.zeros((len(batch.skipped), 2), np.float32)
    return pair_margins.PairValues(scores, scores)

  monkeypatch.setattr(reference_scores, '_score', no_scores)
  size, rng = 1024, np.random.default_rng(0)
  record = tiny_pairs.record() | {'id': 'a'}
  for name in ('codes', 'codes_win', 'codes_lose'):
    record[name] = np.zeros(size, np.int32)
  transform = tiny_pairs.named_transform(0.0)

  def score(count):
    return reference_scores.score_reference(
      None,
      [record] * count,
      lambda r, dropped: transform(r, rng),
      objective=dataclasses.replace(tiny_pairs.OBJECTIVE, fixed_masks=False),
      schedule=mask_schedules.cosine,
      image_tokens=size,
      seed=3,
      batch_size=8,
      chunk_size=9,
      mesh=tiny.mesh(1, 1),
    )

  # A row takes 13 bytes a token of the real image, 4 a code of winner and loser.
  row = 13 * size + 2 * 4 * size
  memory_growth.check_below(row / 3, score, 16, 48)
