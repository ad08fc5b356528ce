"""Parsers of yes and no, and the scores of POPE, as the three scorers do."""

import pytest

from hermesflow_jax.benchmarks import yes_no

# What POPE's script, lmms-eval and VLMEvalKit make of a reply.
REPLIES = {
  'yes': ('yes', 'yes', 'yes'),
  'Yes.': ('yes', 'yes.', 'yes'),
  'No': ('no', 'no', 'no'),
  'No, there is not.': ('no', 'no, there is not.', 'no'),
  'NO': ('yes', 'no', 'no'),
  'There is a dog. No cat.': ('yes', 'there is a dog. no cat.', 'no'),
  'It is not there': ('no', 'it is not there', 'unknown'),
  'yes and no': ('no', 'yes and no', 'unknown'),
  '': ('yes', '', 'unknown'),
  ' yes ': ('yes', 'yes', 'yes'),
  'nothing': ('yes', 'nothing', 'unknown'),
}


@pytest.mark.parametrize('reply, expected', REPLIES.items())
def test_replies_are_parsed_as_each_scorer_does(reply, expected):
  parsers = yes_no.official, yes_no.exact, yes_no.extracted
  assert tuple(parse(reply) for parse in parsers) == expected


def test_scores_of_a_hand_counted_case():
  answers = ['yes'] * 3 + ['no'] * 4 + ['unknown']
  labels = ['yes', 'yes', 'no', 'no', 'no', 'no', 'yes', 'yes']
  counts = yes_no.count(answers, labels)
  assert (counts.true_yes, counts.false_yes) == (2, 1)
  assert (counts.true_no, counts.missed) == (3, 2)
  assert counts.percentages() == pytest.approx(
    {
      'accuracy': 62.5,
      'precision': 100 * 2 / 3,
      'recall': 50,
      'f1': 100 * 4 / 7,
      'yes_ratio': 37.5,
    }
  )


def test_scores_without_an_answer_yes_are_zero():
  counts = yes_no.count(['no', 'no'], ['no', 'yes'])
  assert (counts.precision, counts.recall, counts.f1) == (0, 0, 0)
