"""Rows are those of the official code, and fit what samplers continue."""

import json

import numpy as np
import pytest

from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_to_image
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary

MAX_TEXT = 12
VOCAB = vocabulary.Vocab(50, 64, 49)


@pytest.fixture(scope='module')
def arrays(goldens):
  config = json.loads((goldens / 'showo_small' / 'config.json').read_text())
  assert config['max_text_len'] == MAX_TEXT
  assert config['vocab_size'] == VOCAB.size
  with np.load(goldens / 'showo_small' / 'io.npz') as file:
    return dict(file)


def lists(padded):
  """Lists of ids from an array padded with -1."""
  return [[int(i) for i in row if i >= 0] for row in padded]


def t2i(arrays, side):
  return text_to_image.t2i_rows(
    VOCAB, lists(arrays['t2i_text_ids']), arrays[f't2i_{side}_tokens'], MAX_TEXT
  )


def mmu(arrays, side):
  """The official captions: <|sot|> text <|eot|>, all of it scored."""
  answers = [[VOCAB.sot, *t] for t in lists(arrays[f'mmu_{side}_text'])]
  return image_to_text.mmu_rows(
    VOCAB, arrays['mmu_image_tokens'], [[]] * 3, answers, 31, sot=False
  )


@pytest.mark.parametrize('side', ['win', 'lose'])
def test_t2i_rows_masked_are_the_official_ones(arrays, side):
  rows = t2i(arrays, side)
  tokens, labels = mask_schedules.apply_mask(
    VOCAB, rows.tokens, rows.labels, arrays['t2i_mask'], MAX_TEXT + 2
  )
  np.testing.assert_array_equal(tokens, arrays[f't2i_{side}_ids'])
  # The official labels name the text too, and the loss leaves it out.
  expected = arrays[f't2i_{side}_labels'].copy()
  expected[:, : MAX_TEXT + 1] = token_rows.UNSCORED
  np.testing.assert_array_equal(labels, expected)


def test_text_labels_are_the_official_labels(arrays):
  rows = t2i(arrays, 'win')
  tokens, labels = mask_schedules.apply_mask(
    VOCAB, rows.tokens, rows.labels, arrays['t2i_mask'], MAX_TEXT + 2
  )
  masked = token_rows.Rows(tokens, np.asarray(labels), rows.ar, rows.valid)
  np.testing.assert_array_equal(
    text_to_image.lm_text_labels(masked), arrays['t2i_win_labels']
  )


@pytest.mark.parametrize('side', ['win', 'lose'])
def test_mmu_rows_are_the_official_ones(arrays, side):
  rows = mmu(arrays, side)
  np.testing.assert_array_equal(rows.tokens, arrays[f'mmu_{side}_ids'])
  np.testing.assert_array_equal(rows.labels, arrays[f'mmu_{side}_labels'])


def test_lm_rows_are_the_official_ones(arrays):
  rows = token_rows.lm_rows(VOCAB, lists(arrays['mmu_win_text']), 16)
  np.testing.assert_array_equal(rows.tokens, arrays['lm_ids'])
  np.testing.assert_array_equal(rows.labels, arrays['lm_labels'])


def test_attention_of_the_rows_is_the_official_one(arrays):
  for name, rows in ('t2i', t2i(arrays, 'win')), ('mmu', mmu(arrays, 'win')):
    np.testing.assert_array_equal(
      attention_mask.mask_matrix(rows.ar, rows.valid),
      arrays[f'{name}_attention'],
    )


def test_image_prefixes_are_the_official_ones(arrays):
  texts = lists(arrays['t2i_text_ids'])
  for name, given in ('cfg', texts), ('uncond', [[]] * 4):
    prefix = text_to_image.t2i_prefix(VOCAB, given, MAX_TEXT)
    np.testing.assert_array_equal(
      prefix.tokens, arrays[f't2i_gen_{name}_ids'][:, : MAX_TEXT + 1]
    )


def test_a_text_with_bos_gets_no_second_one():
  bare = text_to_image.t2i_prefix(VOCAB, [[3, 4]], MAX_TEXT)
  given = text_to_image.t2i_prefix(VOCAB, [[VOCAB.bos, 3, 4]], MAX_TEXT)
  np.testing.assert_array_equal(bare.tokens, given.tokens)


def test_only_the_answer_and_its_end_are_scored():
  codes = np.array([[1, 2]])
  rows = image_to_text.mmu_rows(VOCAB, codes, [[7, 8]], [[9]], 12, sot=True)
  v = VOCAB
  np.testing.assert_array_equal(
    rows.tokens[0],
    [v.mmu, v.soi, 61, 62, v.eoi, v.sot, 7, 8, 9, v.eot, v.pad, v.pad],
  )
  np.testing.assert_array_equal(
    rows.labels[0], [-100] * 8 + [9, v.eot] + [-100] * 2
  )


def test_a_question_is_the_row_of_its_answer_without_the_answer():
  codes = np.array([[1, 2], [3, 4]])
  prompts = [[7, 8], [5]]
  prefix, lengths = image_to_text.mmu_prefix(VOCAB, codes, prompts, 10)
  rows = image_to_text.mmu_rows(VOCAB, codes, prompts, [[9], [6, 6]], 10)
  np.testing.assert_array_equal(lengths, [8, 7])
  np.testing.assert_array_equal(lengths, prefix.valid.sum(-1))
  for b, length in enumerate(lengths):
    np.testing.assert_array_equal(
      prefix.tokens[b, :length], rows.tokens[b, :length]
    )
    assert not prefix.valid[b, length:].any()
  assert (prefix.labels == token_rows.UNSCORED).all()


def test_an_answer_too_long_is_cut_and_ends_all_the_same():
  rows = image_to_text.mmu_rows(
    VOCAB, np.array([[1, 2]]), [[7]], [[9, 9, 9, 9]], 10
  )
  np.testing.assert_array_equal(rows.tokens[0, 7:], [9, 9, VOCAB.eot])


def test_what_does_not_fit_is_refused_by_row():
  codes = np.array([[1, 2], [3, 4]])
  with pytest.raises(ValueError, match='at least 8 .* of row 1, got 7'):
    image_to_text.mmu_prefix(VOCAB, codes, [[7], [7, 8]], 7)


@pytest.mark.parametrize('codes', [[[64]], [[-1]], [[1], [2]]])
def test_codes_outside_the_codebook_or_batch_are_refused(codes):
  with pytest.raises(ValueError, match='codes'):
    text_to_image.t2i_rows(VOCAB, [[1]], np.array(codes), MAX_TEXT)
