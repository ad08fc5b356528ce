"""One packed row says what four rows say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import packed_pairs
import pytest
import tiny

from hermesflow_jax.pair_dpo import official_defects
from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.pair_dpo import pair_log_likelihood
from hermesflow_jax.runtime import batching


@pytest.fixture(scope='module')
def model():
  return tiny.show_o(jax.random.key(3))


@pytest.fixture(scope='module', params=[1, 3])
def masked(request):
  """bool[3, K, I]."""
  rng = np.random.default_rng(request.param)
  shape = len(packed_pairs.RECORDS), request.param, tiny.IMAGE_TOKENS
  return rng.random(shape) < 0.6


@functools.partial(jax.jit, static_argnames='rows')
def packed_logps(model, batch, masked, rows=7):
  return pair_log_likelihood.pair_logps(model, batch, masked, rows)


@functools.partial(jax.jit, static_argnames='reply')
def plain_logps(model, batch, masked, reply=tiny.LENGTHS.reply):
  return official_defects.unpacked_pair_logps(model, batch, masked, reply)


def close(actual, expected, atol):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=atol), actual, expected
  )


def with_gradient(logps):
  """model, batch, masked -> ((log-likelihoods, counts), gradient)."""

  def value(model, batch, masked):
    output = logps(model, batch, masked)
    weighted = (output[0].t2i * jnp.array([1.0, -0.5])).sum() + (
      output[0].mmu * jnp.array([0.7, -1.0])
    ).sum()
    return weighted, output

  gradient = jax.jit(jax.grad(value, has_aux=True))
  return lambda *arguments: gradient(*arguments)[::-1]


@pytest.mark.parametrize('masked', [1], indirect=True)
def test_log_likelihoods_are_those_of_four_rows(model, masked):
  plain, packed = packed_pairs.batches()
  close(
    packed_logps(model, packed, masked), plain_logps(model, plain, masked), 1e-4
  )


@pytest.mark.parametrize('masked', [3], indirect=True)
def test_log_likelihoods_and_gradients_are_those_of_four_rows(model, masked):
  plain, packed = packed_pairs.batches()
  (actual, counts), slope = with_gradient(packed_logps)(model, packed, masked)
  (expected, expected_counts), expected_slope = with_gradient(plain_logps)(
    model, plain, masked
  )
  close(actual, expected, 1e-4)
  close(counts, expected_counts, 0)
  close(slope, expected_slope, 2e-4)


def test_what_win_and_lose_share_is_there_once(masked):
  _, packed = packed_pairs.batches()
  tokens, positions, sees, _ = jax.eval_shape(
    lambda: packing.pack_batch(tiny.vocab(), packed, masked)
  )
  masks = masked.shape[1]
  prompt = len(tiny.text().encode([packed_pairs.PROMPT])[0])
  expected = (
    packed_pairs.FIT.caption
    + 2 * masks * (tiny.IMAGE_TOKENS + 2)
    + tiny.IMAGE_TOKENS
    + 4
    + prompt
    + 2 * (packed_pairs.FIT.reply - 1)
  )
  assert tokens.shape == (len(packed_pairs.RECORDS), expected)
  assert positions.shape == tokens.shape
  assert sum(s.size * s.count for s in sees.segments) == expected


def test_neither_side_sees_the_other(model):
  """Each side alone says the same beside another rival."""
  _, packed = packed_pairs.batches()
  masked = np.ones((len(packed_pairs.RECORDS), 1, tiny.IMAGE_TOKENS), bool)
  masked[:, :, 0] = False
  actual, _ = packed_logps(model, packed, masked)
  for side in (0, 1):
    other = jax.tree.map(np.copy, packed)
    other.codes[:, 1 - side] = (other.codes[:, 1 - side] + 5) % 16
    other.replies[:, 1 - side, :2] = 7
    changed, _ = packed_logps(model, other, masked)
    np.testing.assert_array_equal(changed.t2i[:, side], actual.t2i[:, side])
    np.testing.assert_array_equal(changed.mmu[:, side], actual.mmu[:, side])
    assert (changed.t2i[:, 1 - side] != actual.t2i[:, 1 - side]).all()
    assert (changed.mmu[:, 1 - side] != actual.mmu[:, 1 - side]).all()


@pytest.mark.parametrize('rows', [1, 1000])
def test_chunks_of_labels_change_nothing(model, rows):
  _, packed = packed_pairs.batches()
  masked = np.ones((len(packed_pairs.RECORDS), 1, tiny.IMAGE_TOKENS), bool)
  close(
    packed_logps(model, packed, masked, rows),
    packed_logps(model, packed, masked, 7),
    1e-5,
  )


def test_replies_without_words_are_scored(model):
  """Nothing but ends: there is a token to read all the same."""
  empty = [[], []]
  fit = packing.packed_lengths(tiny.vocab(), [[]], empty, tiny.LENGTHS)
  codes = np.zeros((2, tiny.IMAGE_TOKENS), int)
  batch = batching.stack(
    [
      packing.pack_record(
        tiny.vocab(),
        [],
        codes,
        codes[0],
        [3],
        empty,
        tiny.LENGTHS.max_text,
        fit,
      )
    ]
  )
  actual, counts = packed_logps(model, batch, None)
  assert np.isfinite(actual.mmu).all()
  np.testing.assert_array_equal(counts.mmu, [[1, 1]])
