"""The job curate with more images for inputs without a pair."""

import json

import curate_runs
import numpy as np
import pytest

from hermesflow_jax.curation import candidate_waves


def test_fewer_images_than_a_wave_are_refused(base):
  with pytest.raises(
    ValueError, match='most_images must be 0 or at least images, 3, got 2'
  ):
    curate_runs.configured(base, most_images=2)
  with pytest.raises(ValueError, match='easy_score must be None with most_i'):
    curate_runs.configured(base, easy_score=1.0)


def test_more_images_have_the_keys_of_images_that_are_drawn_at_once(
  base, tmp_path
):
  """Random weights: the pairs of six images are those of two waves of three."""
  for folder, changes in {
    'waves': {'images': 3, 'most_images': 6},
    'at_once': {'images': 6},
    'shared': {'images': 3, 'most_images': 6, 'shares': 2},
  }.items():
    curate_runs.run(base, tmp_path / folder, **changes)
  _, lines = curate_runs.run(
    base, tmp_path / 'shared', images=3, most_images=6, shares=2, share=1
  )
  assert curate_runs.outcome(tmp_path / 'shared') == curate_runs.outcome(
    tmp_path / 'waves'
  )
  assert any('images drawn, 3 to ' in line for line in lines), lines
  at_once, waves = (
    {
      row['id']: row
      for shard in sorted((tmp_path / name / 'shards').glob('*.jsonl'))
      for row in map(json.loads, shard.read_text().splitlines())
    }
    for name in ('at_once', 'waves')
  )
  assert {row['drawn'] for row in waves.values()} == {3, 6}
  for name, row in waves.items():
    drawn = at_once[name]['image_scores'][: row['drawn']]
    kept = candidate_waves.kept_places(np.array([drawn]), 3)[0]
    assert row['image_scores'] == [drawn[place] for place in kept]
