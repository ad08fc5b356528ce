"""A self-play run writes pairs, models and evaluations of each round."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import self_play_runs

from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.curation import pair_selection
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.pair_dpo import learning
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import terminal


def test_a_run_leaves_what_it_promises(config, whole):
  results = json.loads((whole / 'results.json').read_text())
  assert [row['round'] for row in results['rounds']] == [0, 1, 2]
  for row in results['rounds']:
    assert 0 <= row['understanding'] <= 1 and 0 <= row['generation'] <= 1
    assert row['gap'] == pytest.approx(row['understanding'] - row['generation'])
    assert row['scenes'] == config.held_out
  assert results['seconds'] > 0
  assert results['config']['play']['rounds'] == 2
  assert '</html>' in (whole / 'report.html').read_text()
  for number in (1, 2):
    folder = whole / f'round_{number}'
    pairs = self_play_runs.lines(folder / 'pairs.jsonl')
    assert len({row['id'] for row in pairs}) == len(pairs) == config.inputs
    with np.load(folder / 'codes.npz') as arrays:
      codes = arrays['candidates']
    assert codes.shape == (config.inputs, config.play.images, 16)
    drops = json.loads((folder / 'curation.json').read_text())['drops']
    for kind in ('caption', 'image'):
      assert sum(drops[kind].values()) == config.inputs
      assert drops[kind].get('kept')
    steps = [
      row['step']
      for row in self_play_runs.lines(folder / 'training/metrics.jsonl')
    ]
    assert steps == [1, 2]
    assert any((folder / 'training' / 'events').iterdir())


def test_a_round_changes_the_model(config, whole):
  before = {
    sharding.path_name(p): a
    for p, a in jax.tree_util.tree_flatten_with_path(
      model_bundle.load_bundle(config.init_from).model
    )[0]
  }
  for number in (1, 2):
    after = self_play_runs.model_of(config, whole, number)
    assert any((after[name] != before[name]).any() for name in after)
    before = after


def test_winners_of_images_come_from_the_newest_candidates(whole):
  for number in (1, 2):
    folder = whole / f'round_{number}'
    with np.load(folder / 'codes.npz') as arrays:
      codes, scores = arrays['candidates'], arrays['image_scores']
    for n, row in enumerate(self_play_runs.lines(folder / 'pairs.jsonl')):
      best = scores[n].argmax()
      assert row['codes_win'] == codes[n, best].tolist()
      assert row['vqa_score_win'] == scores[n, best]


@pytest.mark.parametrize(
  'reference, same', [('round', [True, True]), ('base', [True, False])]
)
def test_the_reference_is_the_rounds_start_or_the_base(
  config, tmp_path, monkeypatch, reference, same
):
  seen = []

  def learn(player, reference, *_):
    seen.append((player.model, reference))
    return jax.tree.map(lambda a: a + 0, player.model)

  monkeypatch.setattr(learning, 'learn_round', learn)
  play = dataclasses.replace(config.play, reference=reference)
  pair_dpo.run(
    dataclasses.replace(config, play=play),
    str(tmp_path / 'run'),
    terminal.silent(),
  )
  assert [start is frozen for start, frozen in seen] == same
  # In both rounds it is what the first began with, or what each did.
  assert (seen[1][1] is seen[0][0]) == (reference == 'base')


def test_a_round_without_pairs_teaches_nothing(config, tmp_path, monkeypatch):
  monkeypatch.setattr(
    pair_selection,
    'filter_pair',
    lambda pair, *args, **bounds: dataclasses.replace(
      pair, dropped='by a test'
    ),
  )
  play = dataclasses.replace(config.play, rounds=1)
  run = tmp_path / 'run'
  results = pair_dpo.run(
    dataclasses.replace(config, play=play), str(run), terminal.silent()
  )
  first, last = results['rounds']
  assert first['understanding'] == last['understanding']
  assert first['generation'] == last['generation']
  assert last['curation']['drops'] == {
    'caption': {'by a test': config.inputs},
    'image': {'by a test': config.inputs},
  }
  assert '</html>' in (run / 'report.html').read_text()
