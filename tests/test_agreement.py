"""Self-scores against the judge: hand-computed, joined by id."""

import dataclasses

import numpy as np
import pytest

from hermesflow_jax import agreement
from hermesflow_jax import curation
from hermesflow_jax.evaluation import gap

INPUTS = gap.Inputs(
    ids=['a', 'b'], captions=['', ''], tags=['', ''],
    questions=[[{'answer': 'yes'}]] * 2, codes=np.zeros((2, 1), np.int32),
)


def judge(codes, questions):
  """Image n is right where its only code is 1."""
  del questions
  return [['yes' if code == 1 else 'no'] for code, in codes]


# Images of two inputs: right and wrong, wrong and right.
CODES = np.array([[[1], [0]], [[0], [1]]])


def pair(win, lose, dropped=''):
  gen = curation.Pair(
      curation.Side(np.array([win]), 1.0),
      curation.Side(np.array([lose]), 0.0), dropped,
  )
  return gen, gen


@pytest.mark.parametrize('scores, correlation', [
    ([[1, 0], [0, 1]], 1.0), ([[0, 1], [1, 0]], -1.0),
    ([[1, 0], [1, 0]], 0.0), ([[1, 1], [0, 0]], None),
])
def test_the_correlation_is_within_inputs(scores, correlation):
  made = {'a': pair(1, 0), 'b': pair(1, 0)}
  out = agreement.measure(judge, INPUTS, CODES, np.array(scores, float), made)
  assert out['correlation'] == pytest.approx(correlation)


def test_winners_and_losers_are_judged_where_a_pair_is_kept():
  made = {'b': pair(0, 1, 'no difference'), 'a': pair(1, 0)}
  out = agreement.measure(judge, INPUTS, CODES, np.array([[1, 0], [0, 1]]), made)
  assert (out['winners_by_judge'], out['losers_by_judge']) == (1.0, 0.0)
  assert (out['judge_agrees'], out['judge_disagrees']) == (1.0, 0.0)
  assert (out['judge_score'], out['best_by_judge']) == (0.5, 1.0)


def test_pairs_find_their_questions_by_id():
  # The judge knows one input's images only: they must come with its questions.
  asked = [[{'answer': 'yes'}], [{'answer': 'no'}]]
  inputs = dataclasses.replace(INPUTS, questions=asked)
  made = {'b': pair(0, 1), 'a': pair(1, 0)}
  out = agreement.measure(judge, inputs, CODES, np.array([[1, 0], [0, 1]]), made)
  assert (out['judge_agrees'], out['judge_disagrees']) == (1.0, 0.0)


def test_without_a_pair_nothing_is_said_of_winners():
  made = {name: pair(1, 0, 'no difference') for name in 'ab'}
  out = agreement.measure(judge, INPUTS, CODES, np.array([[1, 0], [0, 1]]), made)
  assert 'winners_by_judge' not in out
