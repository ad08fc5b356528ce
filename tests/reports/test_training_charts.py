"""Training curves join the logs of all rounds."""

import page_reader

from hermesflow_jax.reports import training_charts


def test_steps_that_start_again_are_moved_behind_the_round_before():
  rows, borders = training_charts.join_rounds(
    [page_reader.steps(1, 3), page_reader.steps(1, 2)]
  )
  measured = [r['step'] for r in rows if 'gen/loss' in r]
  assert measured == [1, 2, 3, 4, 5]
  assert borders == [(1, 'round 1'), (3, 'round 2')]


def test_steps_that_go_on_are_kept():
  rows, _ = training_charts.join_rounds(
    [page_reader.steps(1, 2), page_reader.steps(3, 2)]
  )
  assert [r['step'] for r in rows if 'gen/loss' in r] == [1, 2, 3, 4]


def test_rounds_of_groups_have_charts_of_their_own():
  row = {'step': 1, 'groups/loss': 0.0, 'gen/loss': 0.0, 'gen/kl': 0.0}
  figures = training_charts.training_charts([[row, row | {'step': 2}]])
  titles = ['GRPO loss', 'Gain', 'Clipped share', 'Divergence']
  assert [figure.title for figure in figures] == titles
  answered = row | {'answers/loss': 0.5, 'answers/right_nll': 0.5}
  figures = training_charts.training_charts([[answered]])
  assert [figure.title for figure in figures] == [*titles, 'Answers']
