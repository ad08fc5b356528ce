"""Schedules are the official ones; a random mask hides what it says."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import vocabulary

NAMES = ['cosine', 'linear', 'pow2', 'pow0.5', 'sigmoid']


@pytest.fixture(scope='module')
def schedules(goldens):
  return json.loads((goldens / 'schedules' / 'schedules.json').read_text())


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('library', [np, jnp])
def test_ratios_are_the_official_ones(schedules, name, library):
  expected = schedules[name]
  t = library.asarray(expected['t'], dtype=library.float32)
  # Float32 rounds 1 - t at 6e-8; sigmoid divides differences by 0.9.
  np.testing.assert_allclose(
    mask_schedules.parse_schedule(name)(t), expected['ratio'], atol=3e-7
  )


def test_counts_are_the_official_ones(schedules):
  for name, expected in schedules['cosine_mask_len'].items():
    n, steps = map(int, name.split('x'))
    counts = mask_schedules.schedule_counts(steps, n, mask_schedules.cosine)
    # cos(pi/2) is a hair below 0 in float32: the official last count is -1.
    assert expected[-1] == -1
    np.testing.assert_array_equal(counts, expected[:-1] + [0], err_msg=name)


def test_an_unknown_schedule_is_refused():
  for name in 'arccos', 'pow', 'pow-1', '2':
    with pytest.raises(ValueError, match='schedule'):
      mask_schedules.parse_schedule(name)


@pytest.fixture(scope='module')
def drawn():
  draw = jax.vmap(
    lambda key: mask_schedules.draw_mask(key, 16, mask_schedules.cosine)
  )
  return np.asarray(draw(jax.random.split(jax.random.key(0), 4096)))


def test_a_mask_hides_at_least_one_code(drawn):
  assert drawn.sum(1).min() == 1


def test_counts_follow_the_rounded_schedule(drawn):
  t = (np.arange(100_000) + 0.5) / 100_000
  expected = np.clip(np.round(16 * mask_schedules.cosine(t)), 1, 16).astype(int)
  expected = np.bincount(expected, minlength=17) / len(t)
  actual = np.bincount(drawn.sum(1), minlength=17) / len(drawn)
  # Four standard deviations of a share of 4096 draws.
  np.testing.assert_allclose(actual, expected, atol=4 * 0.5 / 4096**0.5)


def test_every_position_is_hidden_alike(drawn):
  share = drawn.mean(0)
  np.testing.assert_allclose(share, share.mean(), atol=4 * 0.5 / 4096**0.5)


def test_a_pair_shares_its_mask():
  vocab = vocabulary.Vocab(50, 64, 49)
  rng = np.random.default_rng(0)
  tokens = rng.integers(60, 124, (3, 2, 9))
  mask = rng.random((3, 1, 4)) < 0.5
  hidden, labels = mask_schedules.apply_mask(vocab, tokens, tokens, mask, 3)
  expected = np.zeros(tokens.shape, bool)
  expected[..., 3:7] = mask
  np.testing.assert_array_equal(hidden, np.where(expected, vocab.mask, tokens))
  np.testing.assert_array_equal(labels[..., 3:7] != -100, expected[..., 3:7])
  np.testing.assert_array_equal(labels[..., :3], tokens[..., :3])
  np.testing.assert_array_equal(labels[..., 7:], tokens[..., 7:])


def test_the_noisy_half_of_a_schedule_hides_most_codes():
  half = mask_schedules.restrict(mask_schedules.cosine, (0.0, 0.5))
  ratios = half(np.linspace(0, 1, 11))
  assert ratios[0] == 1 and np.all(np.diff(ratios) < 0)
  np.testing.assert_allclose(ratios[-1], np.sqrt(0.5))
  whole = mask_schedules.restrict(mask_schedules.cosine, (0.0, 1.0))
  assert whole is mask_schedules.cosine
