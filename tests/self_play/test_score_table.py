"""Scores of rounds as text."""

import pytest

from hermesflow_jax.self_play import score_table


def evaluation(number, own_score=None):
  """Returns an evaluation of a round."""
  scores = {name: 0.5 for name in score_table.SCORES}
  errors = {f'{name}_se': 0.1 for name in score_table.SCORES}
  own = {} if own_score is None else {'own_score': own_score}
  return {'round': number, **scores, **errors, **own}


def own_score_lines(scores):
  """Returns the lines of the table about the own score."""
  rows = [evaluation(number, score) for number, score in enumerate(scores)]
  table = score_table.score_table(rows).splitlines()
  return [line for line in table if 'own score' in line]


def test_names_the_round_whose_images_please_the_model_most():
  (line,) = own_score_lines([0.8, 0.9, 0.85])
  assert 'highest after round 1, 0.900 (checkpoints/1)' in line
  assert line.endswith('0.850 after round 2')


def test_the_first_of_equal_rounds_is_named():
  (line,) = own_score_lines([0.8, 0.9, 0.9, 0.8])
  assert '(checkpoints/1)' in line


def test_the_start_of_the_run_has_no_checkpoint():
  (line,) = own_score_lines([0.9, 0.8])
  assert 'after round 0, 0.900 (the start)' in line


@pytest.mark.parametrize(
  'scores',
  [
    pytest.param([0.8, 0.9], id='the last is the highest'),
    pytest.param([0.9, 0.9], id='the last is as high'),
    pytest.param([0.9], id='only the base model'),
    pytest.param([None, None], id='a model that does not answer'),
    pytest.param([0.9, None], id='a run of an older version'),
  ],
)
def test_no_line_where_the_last_round_is_the_one_to_take(scores):
  assert own_score_lines(scores) == []
