"""Results of the ablation: which scores are compared with which."""

import copy
import dataclasses
import json
import re

import ablation_arms
import numpy as np
import pytest

from hermesflow_jax.evaluation import scene_statistics
from hermesflow_jax.experiments import ablation_results
from hermesflow_jax.reports import comparison_tables
from hermesflow_jax.reports import comparison_text


def test_results_are_of_the_files(
  comparison, base_and_world, finished_comparison
):
  root, results = finished_comparison
  labels = [m['label'] for m in results['models']]
  assert labels == ['base', 'DPO, images', 'Pair-DPO']
  held_out = base_and_world[1].held_out
  learned = [c for inputs in base_and_world[1].inputs for c in inputs.captions]

  def read(*names):
    return [
      scene_statistics.read_scenes(
        root.joinpath(f'seed_{s}', *names), held_out, learned
      )
      for s in ablation_arms.SEEDS
    ]

  def changes(*runs):
    # The results are those of the file.
    return json.loads(json.dumps(ablation_results.score_changes(*runs)))

  base, last = read('base', 'round_0'), read('images', 'round_1')
  row = results['models'][1]
  for name in ('understanding', 'gap'):
    assert row['base'][name] == changes(base, last)[name]
    assert row['scores'][name]['value'] == pytest.approx(
      np.mean([list(run[name].values()) for run in last])
    )
  assert 'against' in row and 'against' not in results['models'][2]
  # A sweep says how its rows differ from what is usual.
  unusual, usual = results['sweeps']['candidates']
  assert unusual['against'] == changes(read('pair_dpo', 'round_1'), last)
  assert 'against' not in usual


def test_arms_are_compared_after_as_many_rounds(comparison, monkeypatch):
  """An arm of two rounds with two rounds, and with the last if it has more."""
  arms = (
    ablation_arms.arm('a', rounds=3),
    ablation_arms.arm('pair_dpo', rounds=2),
    ablation_arms.arm('b', rounds=1),
  )
  comparison = dataclasses.replace(
    comparison,
    arms=arms,
    sweeps=(),
    self_play=dataclasses.replace(
      comparison.self_play,
      play=dataclasses.replace(comparison.self_play.play, rounds=3),
    ),
  )
  scored = {'base': 0.1, 'a': 0.2, 'pair_dpo': 0.3, 'b': 0.4}
  monkeypatch.setattr(
    ablation_results,
    'read_results',
    lambda config, setup, name, number: [
      {'gap': {'x': scored[name] * (number + 1), 'y': 0.0}}
      for _ in ablation_arms.SEEDS
    ],
  )
  row = {
    'learned': {'inputs': 1, 'steps': 1},
    'seconds': {'training': 1.0},
    'curation': {},
  }
  table = ablation_results.model_results(
    comparison,
    None,
    {},
    {(s, a.name): [row] * 4 for s in ablation_arms.SEEDS for a in arms},
  )
  changes = {
    (m['arm'], m['round']): m['against']['gap']['value']
    for m in table
    if 'against' in m
  }
  half = lambda after, before: pytest.approx((after - before) / 2)
  assert changes == {
    ('a', 1): half(0.4, 0.6),
    ('a', 2): half(0.6, 0.9),
    ('a', 3): half(0.8, 0.9),
    ('pair_dpo', 2): half(0.9, 0.6),
    ('b', 1): half(0.8, 0.6),
  }


def test_results_of_an_earlier_version_are_shown(finished_comparison):
  results = copy.deepcopy(finished_comparison[1])
  for model in results['models']:
    for score in model['scores'].values():
      score.pop('scenes')
  assert re.search(
    r'(of inputs|other captions) \|', comparison_tables.markdown(results)
  )


def test_scorers_of_images_are_compared_by_drops_and_agreement(
  finished_comparison,
):
  results = copy.deepcopy(finished_comparison[1])
  title = '## Scorers of images'
  # Without arms that differ in it the table is left out.
  assert title not in comparison_tables.markdown(results)
  results['config']['arms'][0]['changes']['image_scorer'] = 'soft'
  results['models'][1]['curation'] = [
    {'drops': {'image': drops}, 'concordance': value}
    for drops, value in (
      ({'kept': 2, 'no difference': 4}, 0.5),
      ({'kept': 6}, None),
    )
  ]
  results['models'][2]['curation'] = [{'drops': {'image': {'kept': 6}}}]
  table = comparison_tables.markdown(results).split(title)[1].split('##')[0]
  assert '| arm | kept | no difference | correlation |' in table
  assert '| DPO, images | 4 | 2 | – | 0.500 | – | – |' in table
  assert '| Pair-DPO | 6 | 0 | – | – | – | – |' in table


def test_with_search_the_note_names_the_base_model(finished_comparison):
  results = copy.deepcopy(finished_comparison[1])
  words = 'the best of 8 at most (play.search), also by the base model'
  assert words not in comparison_tables.markdown(results)
  results['config']['self_play']['play']['search']['candidates'] = 8
  assert words in comparison_tables.markdown(results)


def test_a_cell_of_one_scene_can_be_written():
  before, after = [{'x': {'a': 0.0}}] * 2, [{'x': {'a': v}} for v in (0.1, 0.3)]
  change = ablation_results.score_changes(before, after)['x']
  assert json.loads(json.dumps(change, allow_nan=False))['error'] is None
  assert list(change) == ['value', 'error', 'runs', 'freedom', 'stands']
  assert not change['stands'] and '–' in comparison_text.change(change)


def test_a_star_marks_what_stands():
  assert comparison_text.change(
    {'value': 0.5, 'error': 0.1, 'stands': True}
  ) == ('+0.500 ± 0.100 *')
  assert comparison_text.change(
    {'value': -0.1, 'error': 0.1, 'stands': False}
  ) == ('−0.100 ± 0.100')
