"""Evaluation uses inputs that training does not use."""

import dataclasses
import json

import numpy as np
import pytest
import self_play_runs

from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.evaluation import paired_changes
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import terminal
from hermesflow_jax.self_play import score_table
from hermesflow_jax.shapes import pixel_judge
from hermesflow_jax.shapes import scene_sampler


def test_captions_that_a_new_round_brings_are_unseen_no_more(
  config, tmp_path, monkeypatch
):
  """What was measured on them is measured on others, in all rounds."""
  world_of = pair_dpo.play_data

  def with_a_known_caption(settings_, *args):
    world = world_of(settings_, *args)
    if settings_.play.rounds == 1:
      return world
    return dataclasses.replace(world, unseen=world.unseen.select([2, 0]))

  monkeypatch.setattr(pair_dpo, 'play_data', with_a_known_caption)
  run, at_once = tmp_path / 'run', tmp_path / 'at_once'
  first = dataclasses.replace(
    config, play=dataclasses.replace(config.play, rounds=1)
  )
  pair_dpo.run(first, str(run), terminal.silent())
  scenes = (run / 'round_0' / 'scenes.jsonl').stat().st_mtime_ns
  pair_dpo.run(config, str(run), terminal.silent())
  pair_dpo.run(config, str(at_once), terminal.silent())
  assert (run / 'round_0' / 'scenes.jsonl').stat().st_mtime_ns == scenes
  assert len(self_play_runs.lines(run / 'round_1' / 'scenes_unseen.jsonl')) == 2
  self_play_runs.assert_same_run(config, run, at_once)


def test_unseen_captions_are_those_of_no_input(config, whole, tmp_path):
  parts = model_bundle.load_bundle(config.init_from)
  base = job_model.place_on_mesh(
    config, parts, sharding.make_mesh(), terminal.silent()
  )
  more = dataclasses.replace(config, inputs=60, unseen=40)
  world = pair_dpo.play_data(more, base, str(tmp_path), terminal.silent())
  known = {c for inputs in world.inputs for c in inputs.captions}
  assert len(world.unseen) == 40 and len(world.inputs) == 2
  assert known.isdisjoint(world.unseen.captions)
  assert not set(world.unseen.ids) & set(world.held_out.ids)
  assert all(name.startswith('eval-0-') for name in world.unseen.ids)
  # The others of the stream are captions of inputs.
  last = int(world.unseen.ids[-1].rpartition('-')[2])
  passed = {
    scene_sampler.scene_id('eval', 0, n): scene_sampler.sample_scene(
      'eval', 0, n
    ).caption
    for n in range(config.held_out, last + 1)
  }
  skipped = [c for n, c in passed.items() if n not in set(world.unseen.ids)]
  assert skipped and set(skipped) <= known
  # Codes and questions are those that the same scenes have as held-out ones.
  held = pair_dpo.play_data(
    dataclasses.replace(config, held_out=last + 1, unseen=0),
    base,
    str(tmp_path),
    terminal.silent(),
  )
  assert held.unseen is None
  same = held.held_out.select(
    [held.held_out.ids.index(name) for name in world.unseen.ids]
  )
  np.testing.assert_array_equal(same.codes, world.unseen.codes)
  assert same.questions == world.unseen.questions
  assert same.captions == world.unseen.captions


def test_both_sets_of_captions_are_told(config, whole):
  results = json.loads((whole / 'results.json').read_text())
  world_captions = {
    row['caption']
    for n in (1, 2)
    for row in self_play_runs.lines(whole / f'round_{n}' / 'pairs.jsonl')
  }
  for row in results['rounds']:
    unseen = row['unseen']
    assert unseen['scenes'] == config.unseen
    assert unseen['gap'] == pytest.approx(
      unseen['understanding'] - unseen['generation']
    )
    assert sum(t['share'] for t in unseen['by_tag'].values()) == (
      pytest.approx(1)
    )
    assert row['captions_also_of_inputs'] == sum(
      scene_sampler.sample_scene('eval', 0, n).caption in world_captions
      for n in range(config.held_out)
    )
    folder = whole / f'round_{row["round"]}'
    scores = paired_changes.read_scores(folder, 'scenes_unseen')
    assert np.mean([s['generation'] for s in scores.values()]) == (
      pytest.approx(unseen['generation'])
    )
    if row['round']:
      assert unseen['change'] == paired_changes.paired_change(
        [paired_changes.read_scores(whole / 'round_0', 'scenes_unseen')],
        [scores],
      )
  text = score_table.score_table(results['rounds'])
  assert 'on 3 scenes whose captions no input has:' in text
  assert text.count(f'{results["rounds"][2]["unseen"]["gap"]:.3f}')
  page = (whole / 'report.html').read_text()
  assert 'On 3 scenes whose captions no input has' in page
  assert 'By kind of caption' in page


@pytest.mark.parametrize('split', ['eval', 'final', 'preference'])
def test_what_is_measured_on_is_never_learned_from(config, split, tmp_path):
  parts = model_bundle.load_bundle(config.init_from)
  base = job_model.place_on_mesh(
    config, parts, sharding.make_mesh(), terminal.silent()
  )
  world = pair_dpo.play_data(
    dataclasses.replace(config, held_out_split=split),
    base,
    str(tmp_path),
    terminal.silent(),
  )
  assert all(name.startswith(split) for name in world.held_out.ids)
  for inputs in world.inputs:
    assert not set(inputs.ids) & set(world.held_out.ids)


def test_training_never_sees_the_judge(config, whole, tmp_path, monkeypatch):
  monkeypatch.setattr(
    pixel_judge,
    'answer_questions',
    lambda image, questions: ['?'] * len(questions),
  )
  play = dataclasses.replace(config.play, rounds=1)
  run = tmp_path / 'run'
  results = pair_dpo.run(
    dataclasses.replace(config, play=play), str(run), terminal.silent()
  )
  assert results['rounds'][1]['generation'] == 0
  name = 'round_1/pairs.jsonl'
  assert (run / name).read_bytes() == (whole / name).read_bytes()
  actual, expected = (
    self_play_runs.model_of(config, r, 1) for r in (run, whole)
  )
  for name in expected:
    np.testing.assert_array_equal(actual[name], expected[name])
