"""The growth benchmark fits laws, and writes its tables."""

import dataclasses
import json

import numpy as np
import pytest

import configs.benchmark
from hermesflow_jax.jobs import growth_benchmark
from hermesflow_jax.jobs.setup import local_processes
from hermesflow_jax.performance.benchmark import growth_law
from hermesflow_jax.performance.benchmark import growth_rows
from hermesflow_jax.performance.benchmark import growth_table
from hermesflow_jax.performance.benchmark import phase_meter
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal

SIZES = np.array([500, 5_000, 50_000])


def configured(**changes):
  values = configs.benchmark.get_config('growth').to_dict()
  assert values.pop('job') == 'growth_benchmark'
  return settings.build(growth_benchmark.Settings, values | changes)


def costs_of(seconds):
  return [{'write': phase_meter.Cost(value, value)} for value in seconds]


def rows_of(seconds):
  return growth_rows.make(
    'inputs', SIZES.tolist(), SIZES.tolist(), costs_of(seconds)
  )


@pytest.mark.parametrize('exponent', [0.5, 1.0, 2.0])
def test_powers_have_their_exponent(exponent):
  law = growth_law.fit(SIZES, 3 * SIZES**exponent)
  assert law.exponent == pytest.approx(exponent)


def test_lines_have_their_constant_and_slope_and_predict_the_last_cost():
  law = growth_law.fit(SIZES, 700 + 12 * SIZES)
  assert (law.constant, law.slope, law.last) == pytest.approx((700, 12, 1))


def test_costs_that_are_no_positive_numbers_have_a_line_alone():
  law = growth_law.fit(SIZES, [0, 0, 0])
  assert law == growth_law.Law(None, 0.0, 0.0, None)


def test_a_square_breaks_the_line_and_a_line_does_not():
  assert growth_table.breaks(rows_of(0.1 + 2e-3 * SIZES)) == []
  (line,) = growth_table.breaks(rows_of(1e-6 * SIZES**2))
  assert line.startswith('inputs, write, seconds: at 50,000 it is ')


def test_costs_that_fall_break_no_line():
  rows = growth_rows.make(
    'processes', [1, 2, 4], [500] * 3, costs_of([3.3, 2.7, 2.6])
  )
  assert rows[0]['law']['last'] > 1.5 and growth_table.breaks(rows) == []


def test_costs_of_an_input_are_shown_and_the_law_is_of_all_inputs():
  (row,) = rows_of(2e-3 * SIZES)
  assert row['costs'] == pytest.approx([2e-3] * 3)
  assert row['law']['slope'] == pytest.approx(2e-3)
  assert '| write | 2.000 | 2.000 | 2.000 | 1.00 | 2 n | 1.00 |' in (
    growth_table.text([row])
  )


@pytest.mark.parametrize('images', [[2], [4, 2], [2, 2]])
def test_sizes_that_do_not_increase_are_refused(images):
  with pytest.raises(ValueError, match='images must be empty, or two or more'):
    configured(images=images)


def test_the_job_writes_a_row_for_each_phase_and_kind(tmp_path, monkeypatch):
  """A small round is measured; the costs of others are made of its costs."""
  cost = phase_meter.Cost(1.0, 1.0, 1, 1)
  monkeypatch.setattr(
    local_processes, 'run', lambda *values: [{'write pairs': cost}] * 2
  )
  output, measured = [], {}
  measure = growth_benchmark.measure

  def measure_once(size, most_traced):
    measured['costs'] = costs = measured.get('costs') or measure(size, 8)
    if size.inputs <= most_traced:
      return costs
    return {
      phase: dataclasses.replace(cost, held=None, peak=None)
      for phase, cost in costs.items()
    }

  monkeypatch.setattr(growth_benchmark, 'measure', measure_once)
  base = {'inputs': 4, 'images': 2, 'captions': 2, 'grid': 2, 'questions': 1}
  config = configured(
    base=base, inputs=[4, 8, 12], images=[], captions=[], grids=[],
    processes=[1, 2], most_traced=8,
  )  # fmt: skip
  console = terminal.Console(output.append, lambda label: lambda x: x)
  rows = growth_benchmark.run(config, str(tmp_path), console)
  results = json.loads((tmp_path / 'results.json').read_text())
  assert (results['rows'], results['base']) == (rows, base)
  assert results['resident_bytes']['inputs'] > 2**20
  variables = list(dict.fromkeys(row['variable'] for row in rows))
  assert [name.split(',')[0] for name in variables] == (
    ['inputs', 'processes', 'processes']
  )
  for kind in ('seconds', 'held', 'peak'):
    of_inputs = [
      row for row in rows if (row['variable'], row['kind']) == ('inputs', kind)
    ]
    names = [row['phase'] for row in of_inputs]
    assert len(names) == len(set(names)) == (14 if kind == 'seconds' else 13)
    for row in of_inputs:
      # The memory of the largest round is not traced.
      assert row['sizes'] == [4, 8, 12][: 3 if kind == 'seconds' else 2]
      assert len(row['costs']) == len(row['sizes'])
  table = (tmp_path / 'table.md').read_text()
  assert table.count('\n| phase |') == 9
  assert '## Where the line breaks' in table
