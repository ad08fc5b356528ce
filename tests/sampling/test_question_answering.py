"""An answer is a choice that depends only on its image and its question."""

import dataclasses

import numpy as np
import pytest
import small_unified
import tiny

from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import question_answering
from hermesflow_jax.sampling import reply_openings


def test_every_question_gets_one_of_its_choices(answered):
  assert [len(item) for item in answered] == [
    len(q) for q in small_unified.QUESTIONS
  ]
  for replies, requested in zip(answered, small_unified.QUESTIONS):
    for reply, question in zip(replies, requested):
      assert reply in question['choices']


def test_no_questions_have_no_answers(unified, drawn):
  assert unified.answer(drawn[:2, 0], [[], []]) == [[], []]


def test_an_answer_does_not_depend_on_the_other_questions(
  unified, drawn, answered
):
  actual = unified.answer(drawn[2:3, 0], small_unified.QUESTIONS[2:3])
  assert actual == answered[2:3]


@pytest.mark.parametrize('counts', [[1], [4, 4, 4], [0, 1, 5, 0, 2], [9, 1]])
@pytest.mark.parametrize('shared, item', [(1_000, 1), (1, 1_000), (19, 15)])
def test_questions_go_together_each_with_its_image(counts, shared, item):
  groups = batched.group_questions(counts, shared, item)
  image = np.repeat(np.arange(len(counts)), counts)
  assert (image[groups] == image[groups[:, :1]]).all()
  assert set(groups.ravel().tolist()) == set(range(sum(counts)))
  if shared == 1_000:
    assert groups.shape[1] == max(counts)
  if item == 1_000:
    assert groups.size == sum(counts)
  apart = sum(counts) * (shared + item)
  assert len(groups) * (shared + groups.shape[1] * item) <= apart


def test_free_answers_are_the_choice_nearest_to_what_is_said(unified, drawn):
  heard = []

  def matcher(replies, choices):
    heard.extend(zip(replies, choices))
    return [int(np.argmax([len(c) for c in item])) for item in choices]

  free = dataclasses.replace(
    unified,
    matcher=matcher,
    answering=question_answering.AnswerConfig(
      free=True, free_prompt='{question}'
    ),
  )
  actual = free.answer(drawn[:, 0], small_unified.QUESTIONS)
  expected = [
    [max(q['choices'], key=len) for q in requested]
    for requested in small_unified.QUESTIONS
  ]
  assert actual == expected
  greedy = [batched.Decoding(1.0, 1)]
  for n, requested in enumerate(small_unified.QUESTIONS):
    for question in requested:
      (((output,),),) = unified.reply(
        ['x'], drawn[n : n + 1, 0], [question['question']], greedy, seed=9
      )
      assert heard.pop(0) == (output, question['choices'])
  assert not heard


def test_a_free_answer_like_no_choice_is_none(unified, drawn):
  free = dataclasses.replace(
    unified,
    matcher=lambda replies, choices: [None] * len(replies),
    answering=question_answering.AnswerConfig(
      free=True, free_prompt='{question}'
    ),
  )
  actual = free.answer(drawn[:, 0], small_unified.QUESTIONS)
  assert actual == [
    [''] * len(requested) for requested in small_unified.QUESTIONS
  ]


def test_prompts_of_all_lengths_compile_few_sizes(unified, drawn):
  sizes = {
    unified.reader.parts(drawn[:1, 0], np.arange(1), [[3] * size], 100)[
      1
    ].tokens.shape[1]
    for size in range(100 - 3 - tiny.IMAGE_TOKENS)
  }
  assert len(sizes) == -(
    -(100 - 3 - tiny.IMAGE_TOKENS) // batched.LENGTH_MULTIPLE
  )


def test_a_reply_begins_with_any_of_its_forms(unified, drawn):
  """Forms with the same first token count once, unknown words never."""
  forms = ['red'], ['blue'], ['red', 'blue', 'red circle'], ['Red'], ['word2']
  questions = [[small_unified.QUESTIONS[1][0]] * len(forms)]
  ((red, blue, both, capital, never),) = reply_openings.probabilities(
    unified.answerer, drawn[:1, 0], questions, [forms]
  )
  assert 0 < red < 1 and 0 < blue < 1
  np.testing.assert_allclose(both, red + blue, rtol=1e-5)
  assert never == 0 and capital in (0, red)


def test_no_questions_have_no_probabilities(unified, drawn):
  assert reply_openings.probabilities(
    unified.answerer, drawn[:2, 0], [[], []], [[], []]
  ) == [[], []]
