"""Who sees whom: the rule, the official masks, and the interval form."""

import doctest

import jax
import numpy as np
import pytest
import random_rows

from hermesflow_jax.sequences import attention_mask


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
  return attention_mask.key_intervals(ar, valid).keys(ar.shape[-1])


@pytest.mark.parametrize('task', ['t2i', 'mmu'])
def test_masks_equal_the_official_ones_bit_for_bit(arrays, task):
  ar, valid, expected = official(arrays, task)
  np.testing.assert_array_equal(attention_mask.mask_matrix(ar, valid), expected)


@pytest.mark.parametrize('task', ['t2i', 'mmu'])
def test_intervals_say_the_same_as_the_official_masks(arrays, task):
  ar, valid, expected = official(arrays, task)
  np.testing.assert_array_equal(from_intervals(ar, valid), expected)


def test_text_is_causal_and_an_image_sees_itself():
  ar = np.array([1, 1, 1, 0, 0, 1])
  expected = [
    [1, 0, 0, 0, 0, 0],
    [1, 1, 0, 0, 0, 0],
    [1, 1, 1, 1, 1, 0],
    [1, 1, 1, 1, 1, 0],
    [1, 1, 1, 1, 1, 0],
    [1, 1, 1, 1, 1, 1],
  ]
  np.testing.assert_array_equal(
    attention_mask.mask_matrix(ar, np.ones(6, bool)), np.array(expected, bool)
  )


def test_intervals_say_the_same_as_the_mask_on_any_row():
  ar, valid = random_rows.random_rows()
  np.testing.assert_array_equal(
    from_intervals(ar, valid), attention_mask.mask_matrix(ar, valid)
  )


def test_no_token_sees_a_pad_and_every_query_sees_itself():
  ar, valid = random_rows.random_rows()
  seen = np.asarray(attention_mask.mask_matrix(ar, valid))
  assert not np.any(seen & valid[:, :, None] & ~valid[:, None, :])
  assert np.all(np.diagonal(seen, axis1=1, axis2=2))


def test_one_row_and_a_batch_agree():
  ar, valid = random_rows.random_rows()
  np.testing.assert_array_equal(
    jax.vmap(attention_mask.mask_matrix)(ar, valid),
    attention_mask.mask_matrix(ar, valid),
  )


def test_worked_examples_hold():
  result = doctest.testmod(attention_mask)
  assert result.attempted >= 5 and not result.failed
