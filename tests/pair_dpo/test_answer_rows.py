"""Rows of answers: the model reads them as it answers questions."""

import dataclasses
import functools
import types

import jax
import memory_growth
import numpy as np
import phi_tokens
import pytest
import replying_show_o
import small_unified
import tiny
import tiny_clip
import tiny_questions

from hermesflow_jax.pair_dpo import answer_losses
from hermesflow_jax.pair_dpo import answer_rows
from hermesflow_jax.pair_dpo import real_images
from hermesflow_jax.runtime import batching
from hermesflow_jax.sampling import question_answering
from hermesflow_jax.sampling import row_parts
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows


def rows_of(unified, questions):
  lengths = answer_rows.row_lengths(questions)
  make_row = answer_rows.make_transform(unified, lengths)
  every = np.arange(lengths.count)
  return batching.stack(
    [
      make_row(q, np.where(every < len(q.answers), every, -1))
      for q in questions
    ]
  )


@functools.partial(jax.jit, static_argnames='chunk_size')
def logps_of(model, rows, chunk_size=100):
  return answer_losses.answer_logps(model, rows, chunk_size)


@pytest.mark.parametrize('variant', ['codes', 'clip'])
def test_log_likelihoods_are_those_by_which_the_model_answers(variant):
  """By the rule `sum`, of a caller that has a row for each question."""
  answering = question_answering.AnswerConfig(rule='sum')
  key = jax.random.key(3)
  if variant == 'clip':
    unified = tiny_clip.unified_on(tiny_clip.show_o(key))
  else:
    unified = small_unified.unified_on(tiny.show_o(key))
  unified = dataclasses.replace(unified, answering=answering)
  inputs = tiny_questions.inputs_of(tiny_questions.QUESTIONS)
  images = tiny_questions.PIXELS if variant == 'clip' else inputs.codes
  expected = unified.answerer.probabilities(images, tiny_questions.QUESTIONS)
  questions = answer_rows.read_questions(unified, inputs)
  rows = rows_of(unified, questions)
  if variant == 'clip':
    pixels = tiny_questions.PIXELS[[q.place for q in questions]]
    rows = real_images.add_features(unified.vision, rows, pixels)
  actual = jax.nn.softmax(logps_of(unified.model, rows), axis=-1)
  records = [record for part in tiny_questions.QUESTIONS for record in part]
  flat = [shares for part in expected for shares in part]
  for row, record, shares in zip(actual, records, flat, strict=True):
    wrong = [c for c in record['choices'] if c != record['answer']]
    order = [shares[choice] for choice in (record['answer'], *wrong)]
    np.testing.assert_allclose(row[: len(order)], order, atol=1e-5)
    np.testing.assert_array_equal(row[len(order) :], 0.0)


def test_chunks_of_labels_change_nothing():
  unified = small_unified.unified_on(tiny.show_o(jax.random.key(3)))
  questions = answer_rows.read_questions(
    unified, tiny_questions.inputs_of(tiny_questions.QUESTIONS)
  )
  rows = rows_of(unified, questions)
  np.testing.assert_allclose(
    logps_of(unified.model, rows, 2), logps_of(unified.model, rows), rtol=1e-5
  )


@pytest.mark.parametrize(
  'changes',
  [
    {'answer': 'two'},
    {'choices': ['star']},
    {'choices': ['star', 'star']},
    {'choices': []},
    {'choices': None},
    # Words that the tokenizer does not know have the same token.
    {'answer': 'zebra', 'choices': ['zebra', 'lion']},
  ],
)
def test_questions_that_cannot_teach_are_left_out(changes):
  unified = small_unified.unified_on(tiny.show_o(jax.random.key(3)))
  records = [
    [tiny_questions.QUESTIONS[1][0] | changes, tiny_questions.QUESTIONS[1][0]]
  ]
  questions = answer_rows.read_questions(
    unified, tiny_questions.inputs_of(records)
  )
  assert [(q.place, q.number) for q in questions] == [(0, 1)]


def test_answers_have_the_tokens_that_follow_the_prompt():
  """With a byte-level BPE, in which ' red' and 'red' differ."""
  text = phi_tokens.tokenizer()
  vocab = replying_show_o.show_o_vocab(text)
  unified = types.SimpleNamespace(
    text=text,
    vocab=vocab,
    vision=None,
    reader=row_parts.CodeReader(vocab),
    answering=question_answering.AnswerConfig(True, text_tokenizer.FREE_PROMPT),
  )
  record = {
    'question': 'what is it?',
    'choices': ['red', 'dark blue'],
    'answer': 'dark blue',
  }
  (question,) = answer_rows.read_questions(
    unified, tiny_questions.inputs_of([[record]])
  )
  rows = rows_of(unified, [question])
  choices = "Choice:['red', 'dark blue']"
  prompt = f'USER: \nQuestion:what is it? {choices} ASSISTANT:'
  for texts, answers, answer in zip(
    rows.texts[0], rows.answers[0], ('dark blue', 'red'), strict=True
  ):
    valid = texts[1 : (texts != vocab.pad).sum()]
    expected = text.encode([f'{prompt} {answer}'])[0]
    assert valid.tolist() == expected
    scored = answers[answers != token_rows.UNSCORED]
    size = int(rows.length[0]) - 1
    assert scored.tolist() == [*expected[size:], vocab.eos]


def test_memory_holds_few_bytes_of_a_question(monkeypatch):
  monkeypatch.setattr(answer_rows, '_ENCODED', 50)
  unified = small_unified.unified_on(tiny.show_o(jax.random.key(0)))
  record = tiny_questions.QUESTIONS[1][0]

  def read(count):
    inputs = tiny_questions.inputs_of([[record]] * count)
    return answer_rows.read_questions(unified, inputs)

  def only_inputs(count):
    return tiny_questions.inputs_of([[record]] * count)

  # Four bytes a token, twice while it is read, and its place; a list of Python
  # numbers takes ten times as much.
  assert len(read(30)) == 30
  inputs = memory_growth.peak_per_input(only_inputs, 100, 900)
  memory_growth.check_below(inputs + 250, read, 100, 900)
