"""Several seeds with their controls: told apart, resumed, compared."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tiny_world
import unread_models

from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.evaluation import paired_changes
from hermesflow_jax.experiments import pretraining_control
from hermesflow_jax.experiments import seed_tables
from hermesflow_jax.experiments import seeds
from hermesflow_jax.runtime import terminal
from hermesflow_jax.training import pretraining


@pytest.fixture(scope='module')
def config(base):
  return seeds.Settings(
    self_play=tiny_world.self_play(base),
    seeds=(3, 4),
    control=pretraining_control.Control(
      scenes=12,
      batches=pretraining.Batches(8, 8, 8),
      mixture=pretraining.TaskMixture(),
    ),
  )


@pytest.fixture(scope='module')
def finished(config, tmp_path_factory):
  root = tmp_path_factory.mktemp('seeds') / 'run'
  return root, seeds.run(config, str(root), terminal.silent())


def test_each_seed_is_a_run_of_the_main_job(config, finished):
  root, results = finished
  assert [row['seed'] for row in results['seeds']] == [3, 4]
  for row in results['seeds']:
    alone = json.loads((root / f'seed_{row["seed"]}/results.json').read_text())
    assert alone['config']['play']['seed'] == row['seed']
    assert alone['rounds'] == row['rounds']


def test_the_control_is_another_model_on_the_same_scenes(config, finished):
  root, _ = finished
  base = model_bundle.load_bundle(config.self_play.init_from).model
  names = set(paired_changes.read_scores(root / 'seed_3' / 'round_0'))
  for seed in config.seeds:
    assert set(paired_changes.read_scores(root / f'control_{seed}')) == names
    model = trained_model.load_parts(
      str(root / f'control_{seed}' / 'checkpoint')
    ).model
    assert not np.array_equal(model.head.kernel[...], base.head.kernel[...])


def test_the_control_takes_as_many_steps_as_all_rounds(config, finished):
  root, _ = finished
  lines = (root / 'control_3/training/metrics.jsonl').read_text().splitlines()
  play = config.self_play.play
  assert json.loads(lines[-1])['step'] == play.rounds * play.optim.steps


def test_changes_are_between_the_runs_of_the_same_seed(finished):
  root, results = finished
  read = lambda name: [
    paired_changes.read_scores(root / name.format(s)) for s in (3, 4)
  ]
  assert results['changes'][
    'round 2 since control'
  ] == paired_changes.paired_change(read('control_{}'), read('seed_{}/round_2'))


def test_the_table_has_a_row_for_each_model_and_each_change(finished):
  root, results = finished
  text = (root / 'table.md').read_text()
  # Two seeds and their mean, on the held-out scenes and on unseen captions.
  assert text.count('| control |') == text.count('| round 2 |') == 2 * 3
  assert results['changes'].keys() == results['unseen']['changes'].keys()
  for name in results['changes']:
    assert text.count(f'| {name} |') == 2


def test_means_over_seeds_have_errors_over_seeds(finished):
  _, results = finished
  for means, pick in (
    (results['means'], lambda row: row),
    (results['unseen']['means'], lambda row: row['unseen']),
  ):
    for name, number in (('round 0', 0), ('round 2', 2)):
      values = [
        pick(row['rounds'][number])['generation'] for row in results['seeds']
      ]
      assert means[name]['generation'] == pytest.approx(sum(values) / 2)
      # Of two values: half their distance.
      assert means[name]['generation_se'] == pytest.approx(
        abs(values[0] - values[1]) / 2
      )


def test_changes_on_unseen_captions_are_of_their_scenes(finished):
  root, results = finished

  def read(name):
    return [
      paired_changes.read_scores(root / name.format(seed), 'scenes_unseen')
      for seed in (3, 4)
    ]

  assert results['unseen']['changes'][
    'round 1 since base'
  ] == paired_changes.paired_change(
    read('seed_{}/round_0'), read('seed_{}/round_1')
  )


def test_one_seed_has_no_error_over_seeds():
  scores = {'understanding': 0.5, 'generation': 0.25, 'gap': 0.25}
  row = {'seed': 0, 'rounds': [scores | {'round': 0}], 'control': scores}
  mean = seed_tables.mean_scores([row])['control']
  assert mean['gap'] == 0.25 and mean['gap_se'] is None
  assert seed_tables._cells(mean) == ['0.500', '0.250', '0.250']


def test_a_star_marks_what_stands():
  changed = {'understanding': 0.5, 'understanding_se': 0.1}
  many = {
    f'{k}{end}': 0.25 for k in paired_changes.SCORES for end in ('', '_se')
  }
  assert '*' not in ''.join(seed_tables._cells(many, '+'))
  cells = seed_tables._cells(
    many | changed | {'understanding_stands': True}, '+'
  )
  assert cells[0] == '+0.500 ± 0.100 *' and '*' not in ''.join(cells[1:])


def test_the_same_command_again_changes_nothing(config, finished, monkeypatch):
  root, results = finished
  before = (root / 'results.json').read_bytes()
  table = (root / 'table.md').read_bytes()
  (root / 'table.md').unlink()
  unread_models.refuse_reading(monkeypatch)
  again = seeds.run(config, str(root), terminal.silent())
  assert again['changes'] == results['changes']
  assert (root / 'results.json').read_bytes() == before
  assert (root / 'table.md').read_bytes() == table


@pytest.mark.parametrize(
  'results',
  [{'seeds': 1, 'means': {}, 'changes': {}}, {'seeds': [{}]}, {'seeds': []}],
)
def test_damaged_results_are_not_those_of_a_finished_run(results):
  assert not seeds._is_complete(results)


def test_a_seed_that_is_gone_is_made_again(config, finished, tmp_path):
  folder, results = finished
  root = tmp_path / 'run'
  shutil.copytree(folder, root)
  assert seeds._missing(root, config) == []
  gone = root / 'control_3' / 'evaluation.json'
  gone.unlink()
  assert seeds._missing(root, config) == [gone]
  again = seeds.run(config, str(root), terminal.silent())
  assert again['means'] == results['means'] and gone.exists()


@pytest.mark.parametrize('bad', [(), (1, 1), (-1,)])
def test_seeds_that_are_none_or_twice_or_negative_are_refused(config, bad):
  with pytest.raises(
    ValueError, match='seeds must be different numbers from 0'
  ):
    dataclasses.replace(config, seeds=bad)
