"""Plain rows score as the official code does; its defects are as described."""

import functools

import golden_pairs
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hermesflow_jax.pair_dpo import official_defects
from hermesflow_jax.pair_dpo import pair_margins
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_to_image
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.training import log_likelihood

MAX_TEXT = 12


def lists(padded):
  return [[int(i) for i in row if i >= 0] for row in padded]


@pytest.fixture(scope='module')
def official(golden, golden_policy):
  """The official pairs as a batch, and their mask bool[4, 1, I]."""
  vocab = golden_policy.config.vocab

  def pair(make):
    sides = [make(side) for side in ('win', 'lose')]
    return jax.tree.map(lambda *a: np.stack(a, axis=1), *sides)

  def t2i(side):
    return text_to_image.t2i_rows(
      vocab,
      lists(golden['t2i_text_ids']),
      golden[f't2i_{side}_tokens'],
      MAX_TEXT,
    )

  def mmu(side):
    captions = lists(golden[f'mmu_{side}_text'])
    return image_to_text.mmu_rows(
      vocab,
      golden['mmu_image_tokens'],
      [[]] * 3,
      [[vocab.sot, *caption] for caption in captions],
      31,
      sot=False,
    )

  return {'t2i': pair(t2i), 'mmu': pair(mmu)}, golden['t2i_mask'][:, None]


@functools.partial(jax.jit, static_argnames='reply')
def pair_logps(model, batch, masked, reply=14):
  return official_defects.unpacked_pair_logps(model, batch, masked, reply)


@pytest.mark.parametrize('name', ['policy', 'reference'])
def test_log_likelihoods_are_the_official_ones(request, golden, official, name):
  actual, _ = pair_logps(request.getfixturevalue(f'golden_{name}'), *official)
  for task in ('t2i', 'mmu'):
    for side, place in ('win', pair_margins.WIN), ('lose', pair_margins.LOSE):
      # Up to seventeen log-probabilities, each within the logits' tolerance.
      np.testing.assert_allclose(
        getattr(actual, task)[:, place],
        golden[f'logp_{name}_{task}_{side}'],
        atol=5e-4,
        err_msg=f'{task} {side}',
      )


def test_counts_are_of_what_is_scored(golden, golden_policy, official):
  _, counts = pair_logps(golden_policy, *official)
  # <|soi|> and <|eoi|> are scored as well.
  expected = golden['t2i_mask'].sum(-1) + 2
  np.testing.assert_array_equal(counts.t2i, np.stack([expected] * 2, axis=-1))
  batch, _ = official
  labels = batch['mmu'].labels
  np.testing.assert_array_equal(counts.mmu, (labels != -100).sum(-1))


def test_equal_images_have_equal_log_likelihoods(golden_policy, official):
  batch, masked = official
  twins = jax.tree.map(
    lambda a: np.stack([a[:, 0], a[:, 0]], axis=1), batch['t2i']
  )
  actual, _ = pair_logps(golden_policy, batch | {'t2i': twins}, masked)
  # Only the mask could tell the sides apart; they share it.
  np.testing.assert_allclose(actual.t2i[:, 0], actual.t2i[:, 1], rtol=1e-6)


def test_log_likelihoods_of_several_masks_are_averaged(golden_policy, official):
  batch, masked = official
  other = ~masked
  both, counts = pair_logps(
    golden_policy, batch, np.concatenate([masked, other], axis=1)
  )
  first, first_counts = pair_logps(golden_policy, batch, masked)
  second, second_counts = pair_logps(golden_policy, batch, other)
  np.testing.assert_allclose(both.t2i, (first.t2i + second.t2i) / 2, rtol=1e-5)
  np.testing.assert_allclose(
    counts.t2i, (first_counts.t2i + second_counts.t2i) / 2
  )
  np.testing.assert_allclose(both.mmu, first.mmu, rtol=1e-5)


def test_gradients_of_several_masks_are_averaged(golden_policy, official):
  """As values are; a mask that is there twice is the mask alone."""
  batch, masked = official

  @jax.jit
  @jax.grad
  def slope(model, masked):
    return (
      official_defects.unpacked_pair_logps(model, batch, masked, 14)[0]
      .t2i[:, 0]
      .sum()
    )

  both, first, second = (
    jax.device_get(slope(golden_policy, np.concatenate(pair, axis=1)))
    for pair in ((masked, ~masked), (masked, masked), (~masked, ~masked))
  )
  for actual, a, b in zip(
    *map(jax.tree.leaves, (both, first, second)), strict=True
  ):
    np.testing.assert_allclose(
      actual, (a + b) / 2, atol=1e-5 * max(1, np.abs(a).max()), rtol=1e-3
    )
  head = [gradient.head.kernel[...] for gradient in (first, second)]
  assert np.abs(head[0] - head[1]).max() > 0.1


def test_images_as_text_are_scored_by_the_token_before(golden_policy, official):
  batch, masked = official
  rows = jax.tree.map(lambda a: a[:, 0], batch['t2i'])

  @jax.jit
  def whole(model, rows, masked):
    tokens, labels = mask_schedules.apply_mask(
      model.config.vocab, rows.tokens, rows.labels, masked, MAX_TEXT + 2
    )
    mask = attention_mask.mask_matrix(rows.ar, rows.valid)
    states, _ = model(tokens, mask, jnp.arange(tokens.shape[-1]))
    return model.logits(states), tokens, labels

  actual = jax.jit(official_defects.image_logps_as_text)(
    golden_policy, rows, masked[:, 0]
  )
  logits, tokens, labels = whole(golden_policy, rows, masked[:, 0])
  masked_rows = token_rows.Rows(
    np.asarray(tokens), np.asarray(labels), rows.ar, rows.valid
  )
  expected = log_likelihood.sequence_logps(
    logits,
    log_likelihood.next_labels(text_to_image.lm_text_labels(masked_rows)),
  )
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.fixture(scope='module')
def both(golden):
  """The official (policy, reference) PairValues."""
  return (
    golden_pairs.logps(golden, 'policy'),
    golden_pairs.logps(golden, 'reference'),
  )


def test_compat_batch_sum_is_one_sigmoid_of_all_margins(both):
  policy, reference = both
  delta = pair_margins.reward_margins(policy.t2i, reference.t2i).sum()
  _, metrics = golden_pairs.loss(*map(official_defects.sum_over_batch, both))
  np.testing.assert_allclose(
    metrics['gen/loss'], np.log1p(np.exp(-0.2 * delta)), rtol=1e-4
  )


def test_compat_batch_sum_leaves_out_invalid_pairs(both):
  valid = jnp.array([True, False, True])
  actual = official_defects.sum_over_batch(both[0], und_valid=valid)
  np.testing.assert_allclose(
    actual.mmu[0], both[0].mmu[0] + both[0].mmu[2], rtol=1e-6
  )
  assert actual.t2i.shape == actual.mmu.shape == (1, 2)


def test_compat_understanding_margin_also_moves_with_images(both):
  policy, reference = jax.tree.map(lambda a: a[:3], both)
  as_text = jnp.array([[1.0, 0.5]] * 3)
  _, plain = golden_pairs.loss(policy, reference)
  _, metrics = golden_pairs.loss(
    official_defects.score_images_as_text(policy, as_text), reference
  )
  np.testing.assert_allclose(
    metrics['und/margin'], plain['und/margin'] + 0.5, atol=1e-5
  )
  assert metrics['gen/margin'] == plain['gen/margin']
