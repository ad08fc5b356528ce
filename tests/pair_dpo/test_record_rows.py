"""Rows of homologous records: winner and loser differ only where they must."""

import jax
import numpy as np
import phi_tokens
import pytest
import tiny
import tiny_pairs

from hermesflow_jax.pair_dpo import official_defects
from hermesflow_jax.pair_dpo import record_rows
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary


def texts_of(rows):
  """The text before the images of both sides, [2, max_text + 1]."""
  return rows['t2i'].tokens[:, : tiny.LENGTHS.max_text + 1]


def plain_rows_of(record, **compat):
  return tiny_pairs.row_of(record, separate_drops=True, **compat)


def test_rows_are_pairs_of_the_lengths_of_the_run():
  rows, lengths = plain_rows_of(tiny_pairs.record()), tiny.LENGTHS
  image = lengths.max_text + 1 + tiny.IMAGE_TOKENS + 2
  for field in jax.tree.leaves(rows['t2i']):
    assert field.shape == (2, image)
  for field in jax.tree.leaves(rows['mmu']):
    assert field.shape == (2, lengths.mmu)
  assert rows['und_valid'].shape == rows['gen_valid'].shape == ()


def test_sides_differ_only_where_they_must():
  rows, given, vocab = (
    plain_rows_of(tiny_pairs.record()),
    tiny_pairs.record(),
    tiny.vocab(),
  )
  win, lose = texts_of(rows)
  np.testing.assert_array_equal(win, lose)
  for side, name in enumerate(('win', 'lose')):
    np.testing.assert_array_equal(
      rows['t2i'].tokens[side, -tiny.IMAGE_TOKENS - 1 : -1],
      given[f'codes_{name}'] + vocab.image_offset,
    )
    labels = rows['mmu'].labels[side]
    (caption,) = tiny.text().encode([given[f'caption_{name}']])
    assert labels[labels != -100].tolist() == [*caption, vocab.eos]
    np.testing.assert_array_equal(
      rows['mmu'].tokens[side, 2 : 2 + tiny.IMAGE_TOKENS],
      given['codes'] + vocab.image_offset,
    )


def test_a_condition_is_dropped_as_often_as_said():
  def caption(drop, seed=0):
    return tiny_pairs.row_of(tiny_pairs.record(), drop, seed)[
      'packed'
    ].caption.tokens

  empty, whole = caption(1.0), caption(0.0)
  actual = [caption(0.5, seed) for seed in range(20)]
  dropped = [(tokens == empty).all() for tokens in actual]
  assert all(d or (t == whole).all() for d, t in zip(dropped, actual))
  assert 4 < sum(dropped) < 16


def test_compat_draws_the_conditions_apart():
  actual = [
    texts_of(
      tiny_pairs.row_of(tiny_pairs.record(), 0.5, seed, separate_drops=True)
    )
    for seed in range(20)
  ]
  assert 4 < sum((win != lose).any() for win, lose in actual) < 16


@pytest.mark.parametrize(
  'caption, image', [('', ''), ('no difference', ''), ('', 'winner too weak')]
)
def test_a_dropped_side_is_not_valid(caption, image):
  rows = tiny_pairs.row_of(tiny_pairs.record(0, caption, image))
  assert rows['und_valid'] == (not caption)
  assert rows['gen_valid'] == (not image)


def test_rows_are_no_longer_than_the_texts_want():
  short = tiny_pairs.named_transform(0.0)(
    tiny_pairs.NAMED[0], np.random.default_rng(0)
  )['packed']
  whole = tiny_pairs.row_of(tiny_pairs.NAMED[0])['packed']
  # <|t2i|> bos, three words, eos; five words and eos, or what is allowed.
  assert short.caption.tokens.shape == (6,) and short.skipped == 3
  assert short.replies.shape == (2, 5)
  assert whole.caption.tokens.shape == (tiny.LENGTHS.max_text + 1,)


def phi_rows(**compat):
  """The text of the question and of both replies of a row, as Phi's tokens."""
  text = phi_tokens.tokenizer()
  vocab = vocabulary.Vocab(text.size, 8192, text.eos)
  lengths = token_rows.Lengths(max_text=16, mmu=64, prompt=48, lm=16, reply=16)
  row = tiny_pairs.record() | {
    'caption': 'a dog',
    'caption_win': 'A dog in a park.',
    'caption_lose': 'cats',
  }
  compat = official_defects.OfficialDefects(**compat)
  make = record_rows.make_transform(
    vocab,
    text,
    lengths,
    0.0,
    compat,
    record_rows.packed_lengths_of(vocab, text, lengths, [row], compat),
    caption_prompt='What is this?',
  )
  packed = make(row, np.random.default_rng(0))['packed']
  image = packed.image.tokens[3 + tiny.IMAGE_TOKENS :].tolist()
  replies = [r[v].tolist() for r, v in zip(packed.replies, packed.replied)]
  return text, image, replies


def test_replies_are_learned_as_the_model_writes_them():
  text, question, replies = phi_rows()
  expected = 'USER: \nWhat is this? ASSISTANT:'
  assert question == [text.eos, *text.encode([expected])[0]]
  for reply, tokens in zip(['A dog in a park.', 'cats'], replies):
    (row,) = text.encode([f'{expected} {reply}'])
    assert question[1:] + tokens == [*row, text.eos]


def test_the_official_training_row_has_two_spaces_before_the_caption():
  text, question, replies = phi_rows(other_prompt=True)
  expected = 'USER: Give a detailed caption for this image. ASSISTANT:'
  for reply, tokens in zip(['A dog in a park.', 'cats'], replies):
    (row,) = text.encode([f'{expected}  {reply}'])
    assert question + tokens == [*row, text.eos]
