"""Runs whose inputs, pairs and arrays lie in files are the runs in memory."""

import dataclasses

import file_runs
import self_play_runs

from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import terminal


def hold_little(monkeypatch):
  """Memory holds two objects of a kind, and no array."""
  monkeypatch.setattr(disk_objects, 'MOST', 2)
  monkeypatch.setattr(disk_arrays, 'MOST_BYTES', 0)


def test_two_rounds_of_pairs_are_the_same(config, whole, monkeypatch, tmp_path):
  """The scenes of the run have a few inputs in each round."""
  hold_little(monkeypatch)
  pair_dpo.run(config, str(tmp_path), terminal.silent())
  self_play_runs.assert_same_run(config, tmp_path, whole)


def test_two_rounds_of_groups_from_files_are_the_same(
  file_config, monkeypatch, tmp_path
):
  """Captions and images are learned from, the same inputs twice."""
  config = file_runs.two_rounds(file_config)
  objective = dataclasses.replace(
    config.play.objective,
    method='grpo',
    und_sft_weight=0.0,
    gen_sft_weight=0.0,
    masks=1,
    fixed_masks=True,
  )
  play = dataclasses.replace(config.play, objective=objective)
  config = dataclasses.replace(config, play=play, unseen=0)
  pair_dpo.run(config, str(tmp_path / 'memory'), terminal.silent())
  hold_little(monkeypatch)
  pair_dpo.run(config, str(tmp_path / 'disk'), terminal.silent())
  for number in (1, 2):
    for name in ('pairs.jsonl', 'codes.npz', 'scenes.jsonl', 'scenes.npz'):
      memory, disk = (
        (tmp_path / place / f'round_{number}' / name).read_bytes()
        for place in ('memory', 'disk')
      )
      assert disk == memory, name
