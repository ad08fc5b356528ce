"""The base model and the arms with the same search."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from hermesflow_jax.experiments import ablation_settings
from hermesflow_jax.experiments import arm_runs
from hermesflow_jax.experiments import comparison_arms
from hermesflow_jax.experiments import searched_scores
from hermesflow_jax.reports import comparison_tables
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import search_settings
from hermesflow_jax.self_play import evaluation_phase

SEARCH = search_settings.Search(candidates=4, score='answers')
COSTS = {0: 16.0, 1: 24.0}


@pytest.fixture
def searched(comparison, base_and_world, finished_comparison, monkeypatch):
  """(settings, setup, evaluated models, results) of a search that gains nothing.

  In the place of an evaluation stands that without search.
  """
  root, _ = finished_comparison
  base, world = base_and_world
  config = dataclasses.replace(comparison, image_search=SEARCH)
  setup = ablation_settings.SharedSetup(
    base, world, world, root, terminal.silent()
  )
  evaluated = []

  def evaluate(unified, data, play, folder, console, learned):
    assert data is world and play.search == SEARCH
    evaluated.append((folder, unified.model, learned))
    if not folder.exists():
      shutil.copytree(folder.parent.parent / folder.name, folder)
    return {'decoder_passes': COSTS[int(learned)]}

  monkeypatch.setattr(evaluation_phase, 'evaluate', evaluate)
  summaries = {
    (seed, name): row
    for seed in config.seeds
    for name, row in searched_scores.evaluate(config, setup, seed).items()
  }
  rows = searched_scores.rows(config, setup, summaries)
  return config, setup, evaluated, rows


def test_the_base_and_each_last_round_are_searched(searched):
  config, setup, evaluated, _ = searched
  names = [str(folder.relative_to(setup.root)) for folder, _, _ in evaluated]
  assert names == [
    f'seed_{seed}/{name}'
    for seed in config.seeds
    for name in (
      'base/searched/round_0',
      'images/searched/round_1',
      'pair_dpo/searched/round_1',
    )
  ]
  for folder, model, learned in evaluated:
    assert (
      (model is setup.base.model) == (not learned) == ('base' in str(folder))
    )


def test_changes_are_since_the_base_with_search(searched, finished_comparison):
  _, results = finished_comparison
  rows = json.loads(json.dumps(searched[-1]))
  assert [row['label'] for row in rows] == ['base', 'DPO, images', 'Pair-DPO']
  # The search gained nothing here, so the scores are those without.
  for row, model in zip(rows, results['models'], strict=True):
    assert row['scores'] == model['scores']
    assert row.get('base') == model.get('base')
  assert [row['passes'] for row in rows] == [[16.0] * 2, [24.0] * 2, [24.0] * 2]


def test_tables_have_the_search_only_if_there_was_one(
  searched, finished_comparison
):
  _, results = finished_comparison
  *_, rows = searched
  assert '## With search' not in comparison_tables.markdown(results)
  text = comparison_tables.markdown(results | {'searched': rows})
  _, table, rest = text.split('## With search')
  changes, *_ = rest.split('## ')
  assert 'base 16, DPO, images 24, Pair-DPO 24' in table
  assert '| six tasks |' in table and '| DPO, images |' in changes
  assert '| base |' in table and '| base |' not in changes


def test_one_candidate_is_no_search(comparison):
  assert not comparison.searches
  single = search_settings.Search(candidates=1)
  assert not dataclasses.replace(comparison, image_search=single).searches
  assert dataclasses.replace(comparison, image_search=SEARCH).searches


def test_a_real_image_wins_over_the_worst_of_the_model(
  comparison, base_and_world, finished_comparison
):
  root, _ = finished_comparison
  base, world = base_and_world
  play = dataclasses.replace(comparison.self_play.play, seed=3)
  pool = arm_runs.CandidatePool(
    base, world, play, root / 'seed_3' / 'base', terminal.silent()
  )
  own = pool.candidates(3, comparison_arms.SELF)
  real = pool.candidates(3, comparison_arms.REAL)
  np.testing.assert_array_equal(real.codes[:, 0], world.inputs[0].codes)
  np.testing.assert_array_equal(real.codes[:, 1:], own.codes[:, 1:])
  assert (real.image_scores.argmax(1) == 0).all()
  assert (real.image_scores[:, 0] == 1).all()
  np.testing.assert_array_equal(
    real.image_scores[:, 1:].argmin(1), own.image_scores[:, 1:].argmin(1)
  )
  # The candidates of other arms are as before.
  again = pool.candidates(3, comparison_arms.SELF)
  np.testing.assert_array_equal(again.codes, own.codes)


def test_a_real_image_wins_with_scores_of_any_size(
  comparison, base_and_world, finished_comparison
):
  root, _ = finished_comparison
  base, world = base_and_world

  def score(unified, inputs, codes):
    scores = np.tile(10.0 * np.arange(codes.shape[1]), (len(codes), 1))
    return scores, [[]] * scores.size

  play = dataclasses.replace(comparison.self_play.play, seed=3)
  pool = arm_runs.CandidatePool(
    base, world, play, root / 'seed_3' / 'base', terminal.silent()
  )
  data = dataclasses.replace(world, image_scorer=score)
  real = pool.candidates(3, comparison_arms.REAL, data)
  assert (real.image_scores.argmax(1) == 0).all()
  assert (real.image_scores[:, 1:].argmin(1) == 0).all()
