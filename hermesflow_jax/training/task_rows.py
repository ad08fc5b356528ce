"""Rows of the three training tasks from examples with images in files.

The host builds rows with codes of 0, and reads pixels; `image_codes` puts the
codes of the pixels into the rows on the device.
"""

from collections.abc import Callable
import dataclasses
import typing

import jax
import numpy as np

from hermesflow_jax.data import image_reader
from hermesflow_jax.runtime import settings
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import text_to_image
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary

# 'llava' is the form of Show-o's training rows: no <|sot|>, no line break
# before the question. 'inference' is the form in which all jobs ask.
TURN_FORMS = ('llava', 'inference')
CROPS = ('center', 'random')


@dataclasses.dataclass(frozen=True)
class RowSettings:
  """How examples become rows.

  Attributes:
    drop_condition: probability that a t2i row has the empty text.
    caption_prompt: question of an mmu row whose reply is the caption.
    turn_form: of TURN_FORMS.
    crop: square that is cut from an image, of CROPS.
    flip: probability that an image is mirrored.
  """

  drop_condition: settings.Fraction = 0.1
  caption_prompt: str = text_tokenizer.CAPTION_PROMPT
  turn_form: typing.Annotated[str, settings.one_of(*TURN_FORMS)] = 'llava'
  crop: typing.Annotated[str, settings.one_of(*CROPS)] = 'center'
  flip: settings.Fraction = 0.0

  def __post_init__(self):
    settings.check(self)
    text_tokenizer.check_prompt('caption_prompt', self.caption_prompt)


def make_transforms(
  vocab: vocabulary.Vocab,
  text: text_tokenizer.TextTokenizer,
  lengths: token_rows.Lengths,
  image_tokens: int,
  pixels: int,
  config: RowSettings,
) -> dict[str, Callable[[dict, np.random.Generator], dict]]:
  """Returns functions from an example to its row, by task.

  A row is {'rows': `token_rows.Rows` [T]}, for t2i and mmu with 'pixels'
  uint8[pixels, pixels, 3]. An example with an unreadable image of a set with
  on_error 'skip', or with a question that is longer than the row, gives a row
  without labels.

  Args:
    vocab: token ids.
    text: text tokenizer.
    lengths: row lengths.
    image_tokens: I, codes per image.
    pixels: side of an image.
    config: settings.
  """
  codes = np.zeros((1, image_tokens), np.int32)

  def t2i(example, rng):
    (tokens,) = text.encode([example['caption']])
    if rng.random() < config.drop_condition:
      tokens = []
    rows = text_to_image.t2i_rows(vocab, [tokens], codes, lengths.max_text)
    return _with_pixels(rows, example, rng)

  def mmu(example, rng):
    turns = example.get('turns') or [
      (config.caption_prompt, example['caption'])
    ]
    try:
      rows = image_to_text.conversation_rows(
        vocab,
        codes,
        [encode_turns(text, turns, config.turn_form)],
        lengths.mmu,
        sot=config.turn_form == 'inference',
      )
    except ValueError:
      # A question that is longer than the row.
      rows = image_to_text.mmu_rows(
        vocab, codes, [[]], [[]], lengths.mmu, sot=False
      )
      rows = unscored(rows)
    return _with_pixels(rows, example, rng)

  def _with_pixels(rows, example, rng):
    place = tuple(rng.random(2)) if config.crop == 'random' else None
    flipped = rng.random() < config.flip
    try:
      image = image_reader.load_image(example['path'], pixels, place)
    except ValueError:
      if example['on_error'] == 'raise':
        raise
      image = np.zeros((pixels, pixels, 3), np.uint8)
      rows = unscored(rows)
    if flipped:
      image = np.ascontiguousarray(image[:, ::-1])
    return {'rows': jax.tree.map(lambda a: a[0], rows), 'pixels': image}

  def lm(example, rng):
    content = example.get('text', example.get('caption', ''))
    (tokens,) = text.encode([content])
    # Any part of a long text.
    surplus = len(tokens) + 2 - lengths.lm
    start = int(rng.integers(surplus + 1)) if surplus > 0 else 0
    rows = token_rows.lm_rows(vocab, [tokens[start:]], lengths.lm)
    return {'rows': jax.tree.map(lambda a: a[0], rows)}

  return {'t2i': t2i, 'mmu': mmu, 'lm': lm}


def encode_turns(
  text: text_tokenizer.TextTokenizer, turns, form: str
) -> list[tuple[list[int], list[int]]]:
  """Returns the token ids of (prompt, reply) for each turn.

  A reply's first token has the space after the prompt's colon.

  Args:
    text: text tokenizer.
    turns: (question, reply) texts.
    form: of TURN_FORMS.
  """
  if form == 'inference':
    prompts = [text_tokenizer.user_turn(question) for question, _ in turns]
  else:
    prompts = [
      f'USER: {question} {text_tokenizer.ASSISTANT}' for question, _ in turns
    ]
  replies = text.encode_replies([reply for _, reply in turns])
  return list(zip(text.encode(prompts), replies, strict=True))


def unscored(rows: token_rows.Rows) -> token_rows.Rows:
  """Returns rows [..., T] without labels."""
  labels = np.full_like(rows.labels, token_rows.UNSCORED)
  return dataclasses.replace(rows, labels=labels)
