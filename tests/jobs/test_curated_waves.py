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
  with pytest.raises(ValueError, match='easy_score must be a number with firs'):
    curate_runs.configured(base, first_images=1)
  with pytest.raises(ValueError, match='most_images must be 0 with first_im'):
    curate_runs.configured(base, first_images=2, most_images=6, easy_score=1.0)
  with pytest.raises(ValueError, match='first_images must be less than images'):
    curate_runs.configured(base, first_images=3, easy_score=1.0)


def test_hard_inputs_have_the_images_that_are_drawn_at_once(base, tmp_path):
  """Random weights; also in two shares."""
  changes = {'images': 6, 'first_images': 2, 'easy_score': 0.25}
  curate_runs.run(base, tmp_path / 'first', **changes)
  curate_runs.run(base, tmp_path / 'at_once', images=6)
  for share in (0, 1):
    _, lines = curate_runs.run(
      base, tmp_path / 'shared', shares=2, share=share, **changes
    )
  assert curate_runs.outcome(tmp_path / 'shared') == curate_runs.outcome(
    tmp_path / 'first'
  )
  assert any('images drawn, 2 to 6 for an input' in line for line in lines), (
    lines
  )
  first, at_once = (rows_of(tmp_path / name) for name in ('first', 'at_once'))
  assert {row['drawn'] for row in first.values()} == {2, 6}
  for name, row in first.items():
    scores = at_once[name]['image_scores']
    easy = min(scores[:2]) >= 0.25
    assert row['drawn'] == (2 if easy else 6)
    assert row['image_scores'] == (scores[:2] * 3 if easy else scores)


def rows_of(folder):
  """The lines of a curation's shards by input id."""
  return {
    row['id']: row
    for shard in sorted((folder / 'shards').glob('*.jsonl'))
    for row in map(json.loads, shard.read_text().splitlines())
  }


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
  at_once, waves = (rows_of(tmp_path / name) for name in ('at_once', 'waves'))
  assert {row['drawn'] for row in waves.values()} == {3, 6}
  for name, row in waves.items():
    drawn = at_once[name]['image_scores'][: row['drawn']]
    kept = candidate_waves.kept_places(np.array([drawn]), 3)[0]
    assert row['image_scores'] == [drawn[place] for place in kept]
