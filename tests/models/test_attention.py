"""Attention over parts and masks is a softmax over all visible keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import random_rows

from hermesflow_jax.models import attention
from hermesflow_jax.sequences import attention_mask

attend = jax.jit(attention.attend)


def attended(masks):
  """`attention.attend` over three parts, whose keys each query sees as said."""
  rng = np.random.default_rng(1)
  q = jnp.asarray(rng.normal(size=(5, 7, 2, 4)), jnp.float32)
  parts = [
    tuple(jnp.asarray(rng.normal(size=(2, 5, size, 2, 4)), jnp.float32))
    for size in (3, 6, 7)
  ]
  return attend(q, parts, masks)


def test_attention_over_intervals_is_attention_under_their_masks():
  ar, valid = random_rows.random_rows(5, 7)
  masks = [
    None,
    attention_mask.Interval(start=jnp.array([[0], [1], [2], [3], [5]])),
    attention_mask.key_intervals(ar, valid),
  ]
  dense = [
    np.ones((5, 7, 3), bool),
    np.broadcast_to(masks[1].keys(6), (5, 7, 6)),
    attention_mask.mask_matrix(ar, valid),
  ]
  np.testing.assert_allclose(
    attended(masks), attended(np.concatenate(dense, axis=-1)), atol=1e-6
  )


def test_attention_is_a_softmax_over_all_parts_together():
  rng = np.random.default_rng(2)
  q, k, v = rng.normal(size=(3, 6, 2, 4)).astype(np.float32)
  mask = np.tril(np.ones((6, 6), bool))
  whole = jax.nn.dot_product_attention(q, k, v, mask=mask)
  parts = [(k[:2], v[:2]), (k[2:], v[2:])]
  np.testing.assert_allclose(attend(q, parts, mask), whole, atol=1e-6)


def test_a_query_that_sees_nothing_gets_the_mean():
  rng = np.random.default_rng(3)
  q, k, v = rng.normal(size=(3, 6, 2, 4)).astype(np.float32)
  nothing = attention_mask.Interval(end=jnp.zeros(6, jnp.int32))
  expected = np.broadcast_to(v.mean(0), v.shape)
  for masks in ([nothing], np.zeros((6, 6), bool)):
    np.testing.assert_allclose(attend(q, [(k, v)], masks), expected, atol=1e-6)


def test_every_part_wants_to_be_told_of():
  q = jnp.zeros((3, 1, 2))
  with pytest.raises(ValueError):
    attention.attend(q, [(q, q), (q, q)], [None])


@pytest.mark.parametrize(
  'seen',
  [
    attention_mask.Interval(start=jnp.zeros((3, 7), jnp.int32)),
    attention_mask.Interval(
      start=jnp.zeros((3, 1), jnp.int32), end=jnp.ones((3, 1), jnp.int32)
    ),
    np.ones((3, 7, 4), bool),
  ],
)
def test_queries_of_text_are_left_to_xla(seen):
  q = jnp.zeros((3, 7, 2, 8))
  assert not attention.image_attention(q, [seen, None])
  assert not attention.image_attention(q[:, :1], [None])
  assert not attention.image_attention(
    q, [attention_mask.Interval(start=jnp.zeros((3, 1), jnp.int32))]
  )
  assert attention.image_attention(q, [None])
  start = attention_mask.Interval(start=jnp.zeros((3, 1), jnp.int32))
  assert attention.image_attention(q, [start, None])
  assert not attention.image_attention(q, [start, start, None])


@pytest.mark.parametrize(
  'name, platform, expected',
  [
    ('auto', 'cpu', 'xla'),
    ('auto', 'gpu', 'xla'),
    ('auto', 'tpu', 'splash'),
    ('cudnn', 'gpu', 'cudnn'),
    ('xla', 'tpu', 'xla'),
  ],
)
def test_auto_takes_what_the_platform_has(name, platform, expected):
  assert attention.choose_backend(name, platform) == expected
