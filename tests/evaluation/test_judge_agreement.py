"""Self-scores against the judge: hand-computed, joined by id."""

import dataclasses

import numpy as np
import pytest

from hermesflow_jax.curation import pair_selection
from hermesflow_jax.curation import shards
from hermesflow_jax.data import input_set
from hermesflow_jax.evaluation import judge_agreement

INPUTS = input_set.Inputs(
  ids=['a', 'b'],
  captions=['', ''],
  tags=['', ''],
  questions=[[{'answer': 'yes'}]] * 2,
  codes=np.zeros((2, 1), np.int32),
)


def judge(codes, questions):
  """Image n is right where its only code is 1."""
  del questions
  return [['yes' if code == 1 else 'no'] for (code,) in codes]


# Images of two inputs: right and wrong, wrong and right.
CODES = np.array([[[1], [0]], [[0], [1]]])


def pair(win, lose, dropped=''):
  gen = pair_selection.Pair(
    pair_selection.ScoredCandidate(np.array([win]), 1.0),
    pair_selection.ScoredCandidate(np.array([lose]), 0.0),
    dropped,
  )
  return gen, gen


def judged_scores(pairs, tmp_path, inputs=INPUTS, size=1, judge=judge):
  store = shards.Shards(tmp_path / 'judged', -(-len(inputs) // size))
  return judge_agreement.judge_candidates(
    judge, inputs, CODES, pairs, store, size
  )


@pytest.mark.parametrize(
  'scores, correlation',
  [
    ([[1, 0], [0, 1]], 1.0),
    ([[0, 1], [1, 0]], -1.0),
    ([[1, 0], [1, 0]], 0.0),
    ([[1, 1], [0, 0]], None),
  ],
)
def test_the_correlation_is_within_inputs(tmp_path, scores, correlation):
  pairs = {'a': pair(1, 0), 'b': pair(1, 0)}
  out = judge_agreement.measure_agreement(
    np.array(scores, float), *judged_scores(pairs, tmp_path)
  )
  assert out['correlation'] == pytest.approx(correlation)


def test_chance_orders_half_of_the_images_as_the_judge_does():
  judged = np.array([[1.0, 0.0, 0.5], [1.0, 1.0, 1.0]])
  for own, share in (
    (judged, 1.0),
    (-judged, 0.0),
    # Ties count half, captions that the judge scores alike do not count.
    (np.zeros((2, 3)), 0.5),
    (judged + [[0.0, 0.0, 0.5], [3.0, 2.0, 1.0]], 2.5 / 3),
  ):
    assert judge_agreement.concordance(own, judged) == pytest.approx(share)
  assert judge_agreement.concordance(judged, np.ones((2, 3))) is None


OWN = np.array([[1, 0], [0, 1]])


def test_winners_and_losers_are_judged_where_a_pair_is_kept(tmp_path):
  pairs = {'b': pair(0, 1, 'no difference'), 'a': pair(1, 0)}
  out = judge_agreement.measure_agreement(OWN, *judged_scores(pairs, tmp_path))
  assert (out['winners_by_judge'], out['losers_by_judge']) == (1.0, 0.0)
  assert (out['judge_agrees'], out['judge_disagrees']) == (1.0, 0.0)
  assert (out['judge_score'], out['best_by_judge']) == (0.5, 1.0)


def test_pairs_find_their_questions_by_id(tmp_path):
  # The judge knows one input's images only: they must come with its questions.
  questions = [[{'answer': 'yes'}], [{'answer': 'no'}]]
  inputs = dataclasses.replace(INPUTS, questions=questions)
  pairs = {'b': pair(0, 1), 'a': pair(1, 0)}
  out = judge_agreement.measure_agreement(
    OWN, *judged_scores(pairs, tmp_path, inputs)
  )
  assert (out['judge_agrees'], out['judge_disagrees']) == (1.0, 0.0)


def test_without_a_pair_nothing_is_said_of_winners(tmp_path):
  pairs = {name: pair(1, 0, 'no difference') for name in 'ab'}
  assert 'winners_by_judge' not in judge_agreement.measure_agreement(
    OWN, *judged_scores(pairs, tmp_path)
  )


def test_the_size_of_shards_and_calls_changes_no_score(tmp_path, monkeypatch):
  pairs = {'b': pair(0, 1), 'a': pair(1, 0)}
  whole = judged_scores(pairs, tmp_path / 'a', size=2)
  monkeypatch.setattr(judge_agreement, '_QUESTIONS', 1)
  apart = judged_scores(pairs, tmp_path / 'b', size=1)
  for scores, expected in zip(apart, whole, strict=True):
    np.testing.assert_array_equal(scores, expected)


def test_a_call_of_the_judge_is_about_few_questions(monkeypatch):
  monkeypatch.setattr(judge_agreement, '_QUESTIONS', 12)
  calls = []

  def counting(codes, questions):
    calls.append(sum(map(len, questions)))
    assert len(codes) == len(questions)
    return [['yes'] * len(records) for records in questions]

  counts = [2, 3, 1, 7, 1, 1]
  questions = [[{'answer': 'yes'}] * count for count in counts]
  scores = judge_agreement.agreement_scores(
    counting, np.zeros((6, 2, 1), np.int32), questions
  )
  # An input of more questions than a call may have gets a call of its own.
  assert calls == [2 * (2 + 3 + 1), 2 * 7, 2 * (1 + 1)]
  assert scores.shape == (6, 2) and (scores == 1).all()


def test_judging_that_is_stopped_goes_on_shard_by_shard(tmp_path):
  pairs = {'b': pair(0, 1), 'a': pair(1, 0)}
  whole = judged_scores(pairs, tmp_path / 'whole')
  calls = []

  def stopping(codes, questions):
    calls.append(codes.tolist())
    if len(calls) == 3:
      raise KeyboardInterrupt
    return judge(codes, questions)

  with pytest.raises(KeyboardInterrupt):
    judged_scores(pairs, tmp_path, judge=stopping)
  again = judged_scores(pairs, tmp_path, judge=stopping)
  for scores, expected in zip(whole, again):
    np.testing.assert_array_equal(scores, expected)
  # Sides and candidates of two shards; those of the second were stopped.
  assert len(calls) == 2 + 1 + 2
  judged_scores(pairs, tmp_path, judge=stopping)
  assert len(calls) == 5
  # Another pair makes another shard, and only that one.
  judged_scores(pairs | {'b': pair(1, 0)}, tmp_path, judge=stopping)
  assert len(calls) == 7
