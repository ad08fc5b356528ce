"""Held-out examples are apart from those learned, and measured as they are."""

import numpy as np
import pytest

from hermesflow_jax.data import pipeline
from hermesflow_jax.data import task_sources
from hermesflow_jax.training import held_out_loss


def values(mixture):
  return [example for part in mixture.sources for example in part]


@pytest.mark.parametrize('share', [0.01, 0.1, 0.5])
def test_each_set_is_divided(share):
  sets = [range(200), range(1000, 1003)]
  mixture = pipeline.Mixture(tuple(sets), (1.0, 2.0))
  learned, held_out = task_sources.split('t2i', mixture, share)
  assert sorted(values(learned) + values(held_out)) == sorted(values(mixture))
  assert learned.weights == held_out.weights == mixture.weights
  assert len(held_out.sources[0]) == 200 * share
  assert len(held_out.sources[1]) in (1, 2)


def test_a_set_of_a_single_example_cannot_be_divided():
  mixture = pipeline.Mixture((range(1),), (1.0,))
  with pytest.raises(ValueError, match=r't2i\[0\] must have at least 2 examp'):
    task_sources.split('t2i', mixture, 0.1)


@pytest.mark.parametrize('size, count', [(10, 3), (3, 10), (1, 1)])
def test_measured_examples_have_equal_distances(size, count):
  picks = held_out_loss.spaced(size, count)
  assert len(set(picks)) == min(size, count)
  assert 0 <= picks[0] and picks[-1] < size
  if len(picks) > 1:
    assert np.ptp(np.diff(picks)) <= 1


def test_the_best_step_has_the_lowest_finite_loss(tmp_path):
  (tmp_path / 'metrics.jsonl').write_text(
    '{"step": 0, "held_out/t2i": 3.0, "held_out/total": 3.0}\n'
    '{"step": 2, "loss/t2i": 1.0}\n'
    '{"step": 2, "held_out/t2i": 1.0, "held_out/total": 1.0}\n'
    '{"step": 4, "held_out/t2i": null, "held_out/total": null}\n'
  )
  history = held_out_loss.read_history(tmp_path)
  assert [row['step'] for row in history] == [0, 2, 4]
  assert held_out_loss.best_measurement(history) == {
    'step': 2, 't2i': 1.0, 'total': 1.0
  }  # fmt: skip
  assert held_out_loss.best_measurement(history[-1:]) is None
