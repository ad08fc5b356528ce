"""Scores that official code gave for these replies, from our own tables.

The tables that `prediction_files` writes were scored by POPE's evaluate.py
(RUCAIBox/POPE), MME's calculation.py, VLMEvalKit e8e78f05 (POPE_rating,
MME_rating, exact matching) and lmms-eval 75571cfe (process and aggregation
functions of the tasks pope and mme); the numbers are as they came out.
"""

import itertools
import pathlib

import pytest

from hermesflow_jax.benchmarks import geneval2
from hermesflow_jax.benchmarks import mme
from hermesflow_jax.benchmarks import mme_files
from hermesflow_jax.benchmarks import pope
from hermesflow_jax.benchmarks import protocol

REPLIES = (
  'Yes',
  'no',
  'Yes, there is.',
  'No, it is not',
  'I do not know',
  'maybe',
  '',
  'y',
  'N.',
  'It is yes. no',
  'There are none',
  'yes no',
  'Yes',
  'NO',
  'nothing',
  ' yes',
  'the dog, not a cat. yes',
)
LABELS = ('yes', 'no')
IMAGE = pathlib.PurePath('a.png')


def with_replies(rows):
  """Returns scores by rule: replies repeat in order."""
  cycle = itertools.cycle(REPLIES)
  return rows, {row.id: next(cycle) for row in rows}


@pytest.fixture(scope='module')
def pope_scores():
  """Scores by rule of 20 questions in each split."""
  rows = [
    protocol.ImageQuestion(
      f'{split}/{n}', IMAGE, '', {'label': LABELS[n % 2], 'split': split}
    )
    for split in pope.SPLITS
    for n in range(20)
  ]
  return {s.rule: s for s in pope.Pope().score(*with_replies(rows))}


@pytest.fixture(scope='module')
def mme_scores():
  """Scores by rule of five images in each subtask."""
  rows = [
    protocol.ImageQuestion(
      f'{subtask}/{n}/{label}',
      IMAGE,
      '',
      {'label': label, 'subtask': subtask, 'image': f'{n}'},
    )
    for subtask in mme_files.SUBTASKS
    for n in range(5)
    for label in LABELS
  ]
  return {s.rule: s for s in mme.Mme().score(*with_replies(rows))}


# Accuracy, precision, recall, F1, ratio of yes.
OFFICIAL_POPE = {
  'random': (0.5, 0.5, 0.7, 0.5833333333333334, 0.7),
  'popular': (0.55, 0.5384615384615384, 0.7, 0.608695652173913, 0.65),
  'adversarial': (0.45, 0.4666666666666667, 0.7, 0.56, 0.75),
}
LMMS_EVAL_POPE = {
  'all questions': (0.15, 0.5, 0.625, 0.5555555555555556, 0.5),
  'random': (0.2, 0.5, 0.6666666666666666, 0.5714285714285715, 0.5),
  'popular': (0.15, 2 / 3, 2 / 3, 2 / 3, 0.5),
  'adversarial': (0.1, 0.3333333333333333, 0.5, 0.4, 0.5),
}
# Its table has no ratio of yes.
VLMEVALKIT_POPE = {
  'all questions': (0.25, 0.5294117647058824, 0.3, 0.38297872340425535),
  'random': (0.35, 0.5714285714285714, 0.4, 0.4705882352941176),
  'popular': (0.25, 0.6, 0.3, 0.4),
  'adversarial': (0.15, 0.4, 0.2, 0.26666666666666666),
}


@pytest.mark.parametrize(
  'rule, expected',
  [
    ('official', OFFICIAL_POPE),
    ('lmms-eval', LMMS_EVAL_POPE),
    ('VLMEvalKit', VLMEVALKIT_POPE),
  ],
)
def test_pope_is_scored_as_by_each_scorer(pope_scores, rule, expected):
  for name, numbers in expected.items():
    values = list(pope_scores[rule].values[name].values())
    assert values[: len(numbers)] == pytest.approx(
      [100 * number for number in numbers], rel=1e-12
    )


# Perception, cognition, and the subtasks in the order of SUBTASKS.
MME = {
  'official': (
    (440, 240),
    (80, 40, 10, 100, 40, 0, 70, 40, 40, 20, 90, 40, 0, 110),
  ),
  'VLMEvalKit': (
    (410, 230),
    (80, 50, 0, 90, 40, 10, 50, 40, 50, 0, 90, 50, 0, 90),
  ),
  'lmms-eval': ((560, 280), None),
}


@pytest.mark.parametrize('rule', MME)
def test_mme_is_scored_as_by_each_scorer(mme_scores, rule):
  sums, subtasks = MME[rule]
  values = mme_scores[rule].values
  assert (values['perception'], values['cognition']) == pytest.approx(sums)
  if subtasks:
    assert list(values['subtasks'].values()) == pytest.approx(subtasks)


def test_written_forms_are_those_of_the_official_script():
  forms = geneval2.GenEval2().written_forms
  count = {'question': 'How many dogs?', 'answer': 'two'}
  assert set(forms(count)) == {'two', 'Two', ' two', ' Two', '2', ' 2'}
  yes = forms({'question': 'Is it red?', 'answer': 'yes'})
  assert set(yes) == {'Yes', 'yes', ' yes', ' Yes'}
