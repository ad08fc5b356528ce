"""Changes are taken scene by scene, then averaged."""

import numpy as np
import pytest

from hermesflow_jax.evaluation import paired_changes
from hermesflow_jax.runtime import output_files


def scores(**by_scene):
  return {
    name: {'understanding': u, 'generation': g, 'gap': u - g}
    for name, (u, g) in by_scene.items()
  }


def test_a_change_is_the_mean_over_scenes_of_their_differences():
  before = scores(a=(1.0, 0.5), b=(0.5, 0.0))
  after = scores(b=(0.5, 0.5), a=(1.0, 0.75))
  change = paired_changes.paired_change([before], [after])
  assert change['understanding'] == change['understanding_se'] == 0
  assert change['generation'] == 0.375
  # Half of the distance of two values is their mean's standard error.
  assert change['generation_se'] == pytest.approx(0.125)
  assert change['gap'] == -0.375


def test_runs_are_averaged_before_the_scenes_are():
  before = [scores(a=(1.0, 0.5), b=(0.5, 0.0))] * 2
  after = [
    scores(a=(1.0, 1.0), b=(0.5, 0.0)),
    scores(a=(1.0, 0.5), b=(0.5, 0.5)),
  ]
  change = paired_changes.paired_change(before, after)
  assert change['generation'] == 0.25
  assert change['generation_se'] == 0


def test_runs_that_differ_make_a_change_less_sure():
  before = [scores(a=(1.0, 0.5), b=(0.5, 0.0))] * 2
  after = [scores(a=(1.0, 1.0), b=(0.5, 0.5)), before[1]]
  change = paired_changes.paired_change(before, after)
  assert change['generation'] == 0.25
  # All scenes moved alike, but one run by 0.5 and the other not at all.
  assert change['generation_se'] == pytest.approx(0.25)
  assert not change['generation_stands']


def test_what_all_runs_find_stands():
  before = [scores(a=(1.0, 0.0), b=(1.0, 0.0), c=(1.0, 0.01))] * 3
  after = [scores(a=(1.0, 0.5), b=(1.0, 0.5), c=(1.0, 0.5))] * 3
  change = paired_changes.paired_change(before, after)
  assert change['generation_stands'] and not change['understanding_stands']
  # Of one run nobody says.
  assert 'generation_stands' not in paired_changes.paired_change(
    before[:1], after[:1]
  )


def test_evaluations_of_different_scenes_are_refused():
  with pytest.raises(ValueError, match='different scenes'):
    paired_changes.paired_change([scores(a=(1.0, 0.5))], [scores(b=(1.0, 0.5))])
  with pytest.raises(ValueError, match='1 runs before, 2 after'):
    paired_changes.paired_change(
      [scores(a=(1.0, 0.5))], [scores(a=(1.0, 0.5))] * 2
    )


def test_scores_are_read_by_name(tmp_path):
  row = {'id': 'a', 'understanding': 0.75, 'generation': 0.5, 'caption': ''}
  (tmp_path / 'scenes.jsonl').write_text(output_files.json_lines([row]))
  assert paired_changes.read_scores(tmp_path) == scores(a=(0.75, 0.5))
  assert np.isclose(paired_changes.read_scores(tmp_path)['a']['gap'], 0.25)
