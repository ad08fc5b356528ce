"""Rows of fine-tuning, to the token id (REFERENCE 2, Phi-1.5's tokenizer)."""

import numpy as np
import phi_tokens
from PIL import Image
import pytest

from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary
from hermesflow_jax.training import task_rows

VOCAB = vocabulary.Vocab(50_295, 8_192, 50_256)
EOS, PAD, SOI, EOI, T2I, MMU = 50256, 50295, 50296, 50297, 50300, 50301
# 'USER: What color? ASSISTANT:', ' red', 'USER: Is it big? ASSISTANT:', ' No'.
ASK = [29904, 25, 1867, 3124, 30, 24994, 8808, 8643, 25]
RED = [2266]
ASK_AGAIN = [29904, 25, 1148, 340, 1263, 30, 24994, 8808, 8643, 25]
NO = [1400]
TURNS = [('What color?', 'red'), ('Is it big?', 'No')]
# Four codes; the host writes code 0 in their places.
CODES = [50305] * 4
LENGTHS = token_rows.Lengths(max_text=8, mmu=40, prompt=30, lm=6, reply=9)
SCORED = token_rows.UNSCORED


@pytest.fixture(scope='module')
def text():
  return phi_tokens.tokenizer()


@pytest.fixture(scope='module')
def image(tmp_path_factory):
  """A picture of 32 x 16 px: its left half is black, its right half white."""
  path = tmp_path_factory.mktemp('image') / 'a.png'
  pixels = np.zeros((16, 32, 3), np.uint8)
  pixels[:, 16:] = 255
  Image.fromarray(pixels).save(path)
  return path


def row(text, task, example, seed=0, **changes):
  transforms = task_rows.make_transforms(
    VOCAB, text, LENGTHS, 4, 16, task_rows.RowSettings(**changes)
  )
  example = {'on_error': 'raise'} | example
  return transforms[task](example, np.random.default_rng(seed))


def padded(ids, size, value):
  return ids + [value] * (size - len(ids))


def test_every_reply_of_a_conversation_is_scored_with_its_end(text, image):
  rows = row(text, 'mmu', {'path': image, 'turns': TURNS})['rows']
  prefix = [MMU, SOI, *CODES, EOI]
  tokens = [*prefix, *ASK, *RED, EOS, *ASK_AGAIN, *NO, EOS]
  hidden = [SCORED] * len(prefix)
  labels = [
    *hidden, *[SCORED] * len(ASK), *RED, EOS,
    *[SCORED] * len(ASK_AGAIN), *NO, EOS,
  ]  # fmt: skip
  assert rows.tokens.tolist() == padded(tokens, 40, PAD)
  assert rows.labels.tolist() == padded(labels, 40, SCORED)
  assert rows.valid.tolist() == padded([True] * len(tokens), 40, False)
  assert rows.ar.tolist() == [1, *[0] * 6, *[1] * 33]


def test_a_turn_that_does_not_fit_is_left_out(text, image):
  turns = [TURNS[0], ('Is it big? ' * 8, 'No'), TURNS[1]]
  rows = row(text, 'mmu', {'path': image, 'turns': turns})['rows']
  assert rows.labels[rows.labels != SCORED].tolist() == [*RED, EOS]


def test_a_caption_answers_the_caption_prompt(text, image):
  example = {'path': image, 'caption': 'red'}
  rows = row(text, 'mmu', example, caption_prompt='What color?')['rows']
  prefix = [MMU, SOI, *CODES, EOI]
  assert rows.tokens[: 7 + 11].tolist() == [*prefix, *ASK, *RED, EOS]
  # As all jobs ask: <|sot|> and a line break before the question.
  rows = row(
    text, 'mmu', example, caption_prompt='What color?', turn_form='inference'
  )['rows']
  asked = [29904, 25, 220, 198, 2061, 3124, 30, 24994, 8808, 8643, 25]
  assert rows.tokens[: 8 + 13].tolist() == [*prefix, EOS, *asked, *RED, EOS]


def test_a_t2i_row_scores_its_image(text, image):
  example = {'path': image, 'caption': 'a red bench'}
  rows = row(text, 't2i', example, drop_condition=0.0)['rows']
  caption = [T2I, EOS, 64, 2266, 7624, EOS]
  tokens = [PAD] * 3 + caption + [SOI, *CODES, EOI]
  assert rows.tokens.tolist() == tokens
  assert rows.labels.tolist() == [SCORED] * 9 + [SOI, *CODES, EOI]


def test_conditions_are_dropped_at_their_rate(text, image):
  example = {'path': image, 'caption': 'a red bench'}
  transform = task_rows.make_transforms(
    VOCAB, text, LENGTHS, 4, 16, task_rows.RowSettings(drop_condition=0.1)
  )['t2i']
  rng = np.random.default_rng(0)
  example['on_error'] = 'raise'
  rows = [transform(example, rng)['rows'] for _ in range(500)]
  dropped = np.array([r.valid.sum() == 3 + 6 for r in rows])
  # Three standard deviations of 500 draws.
  assert abs(dropped.mean() - 0.1) < 0.04
  assert rows[dropped.argmax()].tokens[6:9].tolist() == [T2I, EOS, EOS]


def test_a_long_text_is_read_from_any_place(text):
  words = 'red red red red red red red red red red bench'
  rows = [row(text, 'lm', {'text': words}, seed)['rows'] for seed in range(20)]
  assert all(r.tokens.shape == (6,) and r.valid.all() for r in rows)
  assert {EOS in r.tokens[1:] for r in rows} == {True, False}
  short = row(text, 'lm', {'text': 'a red bench'})['rows']
  assert short.tokens.tolist() == [EOS, 64, 2266, 7624, EOS, PAD]
  assert short.labels.tolist() == [EOS, 64, 2266, 7624, EOS, SCORED]


def test_images_are_cropped_and_mirrored_as_set(text, image):
  example = {'path': image, 'caption': 'a red bench'}

  def columns(seed=0, **changes):
    pixels = row(text, 't2i', example, seed, **changes)['pixels']
    assert pixels.shape == (16, 16, 3) and pixels.dtype == np.uint8
    return int((pixels[8, :, 0] < 128).sum()), bool(pixels[8, 0, 0] < 128)

  assert columns() == (8, True)
  assert columns(flip=1.0) == (8, False)
  dark = {columns(seed, crop='random')[0] for seed in range(20)}
  assert len(dark) > 5 and min(dark) >= 0 and max(dark) <= 16


def test_an_unreadable_image_of_a_set_that_skips_has_no_labels(text, tmp_path):
  (tmp_path / 'b.png').write_bytes(b'no image')
  example = {'path': tmp_path / 'b.png', 'caption': 'a red bench'}
  with pytest.raises(ValueError, match='it must be PNG, JPEG or WebP'):
    row(text, 't2i', example)
  for task in ('t2i', 'mmu'):
    rows = row(text, task, example | {'on_error': 'skip'})['rows']
    assert (rows.labels == SCORED).all()


def test_a_question_longer_than_the_row_has_no_labels(text, image):
  turns = [('What color? ' * 40, 'red')]
  rows = row(text, 'mmu', {'path': image, 'turns': turns})['rows']
  assert (rows.labels == SCORED).all() and rows.tokens.shape == (40,)
