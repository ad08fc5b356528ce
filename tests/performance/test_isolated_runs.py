"""A measurement that fails costs no other measurement."""

import time

import isolated_measurements

from hermesflow_jax.performance.benchmark import isolated_runs


def rows_of(*groups, limit=60.0, seconds=120.0):
  rows = []
  isolated_runs.run_all(
    isolated_measurements.measure,
    groups,
    limit,
    time.monotonic() + seconds,
    lambda name, row: rows.append((name, row)),
  )
  return rows


def test_failures_cost_only_their_own_measurement():
  rows = rows_of(['a', 'b', 'raises', 'dies', 'c'])
  # Other tests may delay the start of a process.
  rows += rows_of(['hangs', 'd'], limit=5.0)
  assert [name for name, _ in rows] == [
    'a', 'b', 'raises', 'dies', 'c', 'hangs', 'd',
  ]  # fmt: skip
  results = dict(rows)
  assert results['raises']['error'] == (
    'RuntimeError: RESOURCE_EXHAUSTED: out of memory'
  )
  assert results['dies']['error'] == 'its process died: SIGKILL'
  assert results['hangs']['error'] == 'it took longer than 5 s'
  processes = {n: results[n]['process'] for n in 'abcd'}
  # A process goes on until it fails; each group has its own.
  assert processes['a'] == processes['b']
  assert len(set(processes.values())) == 3


def test_no_measurement_starts_without_time():
  assert rows_of(['a', 'b'], seconds=-1.0) == [
    (name, {'error': 'not run: no time was left'}) for name in 'ab'
  ]
