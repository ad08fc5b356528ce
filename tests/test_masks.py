"""Who sees whom: the rule, the official masks, and the interval form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hermesflow_jax import masks
from hermesflow_jax.models import phi


@pytest.fixture(scope='module')
def arrays(goldens):
  with np.load(goldens / 'showo_small' / 'io.npz') as file:
    return dict(file)


def official(arrays, task):
  """(ar, valid, attention) of the official rows of a task."""
  tokens = arrays[f'{task}_win_ids']
  pad, soi, eoi = 50, 51, 52
  ar = np.ones_like(tokens)
  for row, values in zip(tokens, ar):
    first = int(np.flatnonzero(row == (soi if task == 't2i' else 56))[0])
    last = int(np.flatnonzero(row == eoi)[0])
    values[first + 1 : last + 1] = 0
  return ar, tokens != pad, arrays[f'{task}_attention']


def from_intervals(ar, valid):
  return masks.intervals(ar, valid).keys(ar.shape[-1])


@pytest.mark.parametrize('task', ['t2i', 'mmu'])
def test_masks_equal_the_official_ones_bit_for_bit(arrays, task):
  ar, valid, wanted = official(arrays, task)
  np.testing.assert_array_equal(masks.visible(ar, valid), wanted)


@pytest.mark.parametrize('task', ['t2i', 'mmu'])
def test_intervals_say_the_same_as_the_official_masks(arrays, task):
  ar, valid, wanted = official(arrays, task)
  np.testing.assert_array_equal(from_intervals(ar, valid), wanted)


def test_text_is_causal_and_an_image_sees_itself():
  ar = np.array([1, 1, 1, 0, 0, 1])
  wanted = [
      [1, 0, 0, 0, 0, 0],
      [1, 1, 0, 0, 0, 0],
      [1, 1, 1, 1, 1, 0],
      [1, 1, 1, 1, 1, 0],
      [1, 1, 1, 1, 1, 0],
      [1, 1, 1, 1, 1, 1],
  ]
  np.testing.assert_array_equal(
      masks.visible(ar, np.ones(6, bool)), np.array(wanted, bool)
  )


def random_rows(count=64, size=23):
  """Random blocks between random left and right pads."""
  rng = np.random.default_rng(0)
  ar = rng.integers(0, 2, (count, size))
  ends = np.sort(rng.integers(0, size + 1, (count, 2)), axis=1)
  key = np.arange(size)
  valid = (key >= ends[:, :1]) & (key < ends[:, 1:])
  return ar, valid


def test_intervals_say_the_same_as_the_mask_on_any_row():
  ar, valid = random_rows()
  np.testing.assert_array_equal(
      from_intervals(ar, valid), masks.visible(ar, valid)
  )


def test_no_token_sees_a_pad_and_every_query_sees_itself():
  ar, valid = random_rows()
  seen = np.asarray(masks.visible(ar, valid))
  assert not np.any(seen & valid[:, :, None] & ~valid[:, None, :])
  assert np.all(np.diagonal(seen, axis1=1, axis2=2))


def test_one_row_and_a_batch_agree():
  ar, valid = random_rows()
  np.testing.assert_array_equal(
      jax.vmap(masks.visible)(ar, valid), masks.visible(ar, valid)
  )


def attended(sees):
  """`phi.attend` over three parts, whose keys each query sees as said."""
  rng = np.random.default_rng(1)
  q = jnp.asarray(rng.normal(size=(5, 7, 2, 4)), jnp.float32)
  parts = [
      tuple(jnp.asarray(rng.normal(size=(2, 5, size, 2, 4)), jnp.float32))
      for size in (3, 6, 7)
  ]
  return phi.attend(q, parts, sees)


def test_attention_over_intervals_is_attention_under_their_masks():
  ar, valid = random_rows(5, 7)
  sees = [
      None,
      masks.Interval(start=jnp.array([[0], [1], [2], [3], [5]])),
      masks.intervals(ar, valid),
  ]
  dense = [
      np.ones((5, 7, 3), bool),
      np.broadcast_to(sees[1].keys(6), (5, 7, 6)),
      masks.visible(ar, valid),
  ]
  np.testing.assert_allclose(
      attended(sees), attended(np.concatenate(dense, axis=-1)), atol=1e-6
  )


def test_attention_is_a_softmax_over_all_parts_together():
  rng = np.random.default_rng(2)
  q, k, v = rng.normal(size=(3, 6, 2, 4)).astype(np.float32)
  mask = np.tril(np.ones((6, 6), bool))
  whole = jax.nn.dot_product_attention(q, k, v, mask=mask)
  parts = [(k[:2], v[:2]), (k[2:], v[2:])]
  np.testing.assert_allclose(phi.attend(q, parts, mask), whole, atol=1e-6)


def test_a_query_that_sees_nothing_gets_the_mean():
  rng = np.random.default_rng(3)
  q, k, v = rng.normal(size=(3, 6, 2, 4)).astype(np.float32)
  nothing = masks.Interval(end=jnp.zeros(6, jnp.int32))
  wanted = np.broadcast_to(v.mean(0), v.shape)
  for sees in ([nothing], np.zeros((6, 6), bool)):
    np.testing.assert_allclose(
        phi.attend(q, [(k, v)], sees), wanted, atol=1e-6
    )


def test_every_part_wants_to_be_told_of():
  q = jnp.zeros((3, 1, 2))
  with pytest.raises(ValueError):
    phi.attend(q, [(q, q), (q, q)], [None])
