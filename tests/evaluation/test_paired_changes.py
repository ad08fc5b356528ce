"""Changes are taken scene by scene, then averaged."""

import numpy as np
import pytest

from hermesflow_jax.evaluation import paired_changes
from hermesflow_jax.runtime import output_files


def scores(**of_scenes):
  return {
    name: {'understanding': u, 'generation': g, 'gap': u - g}
    for name, (u, g) in of_scenes.items()
  }


def test_a_change_is_the_mean_over_scenes_of_their_differences():
  before = scores(a=(1.0, 0.5), b=(0.5, 0.0))
  after = scores(b=(0.5, 0.5), a=(1.0, 0.75))
  found = paired_changes.paired_change([before], [after])
  assert found['understanding'] == found['understanding_se'] == 0
  assert found['generation'] == 0.375
  # Half of the distance of two values is their mean's standard error.
  assert found['generation_se'] == pytest.approx(0.125)
  assert found['gap'] == -0.375


def test_runs_are_averaged_before_the_scenes_are():
  before = [scores(a=(1.0, 0.5), b=(0.5, 0.0))] * 2
  after = [
    scores(a=(1.0, 1.0), b=(0.5, 0.0)),
    scores(a=(1.0, 0.5), b=(0.5, 0.5)),
  ]
  found = paired_changes.paired_change(before, after)
  assert found['generation'] == 0.25
  assert found['generation_se'] == 0


def test_runs_that_differ_make_a_change_less_sure():
  before = [scores(a=(1.0, 0.5), b=(0.5, 0.0))] * 2
  after = [scores(a=(1.0, 1.0), b=(0.5, 0.5)), before[1]]
  found = paired_changes.paired_change(before, after)
  assert found['generation'] == 0.25
  # All scenes moved alike, but one run by 0.5 and the other not at all.
  assert found['generation_se'] == pytest.approx(0.25)
  assert not found['generation_stands']


def test_what_all_runs_find_stands():
  before = [scores(a=(1.0, 0.0), b=(1.0, 0.0), c=(1.0, 0.01))] * 3
  after = [scores(a=(1.0, 0.5), b=(1.0, 0.5), c=(1.0, 0.5))] * 3
  found = paired_changes.paired_change(before, after)
  assert found['generation_stands'] and not found['understanding_stands']
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
