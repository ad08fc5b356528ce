"""Batches by step for any number of processes, and chunks over the mesh."""

import itertools

import jax
import numpy as np
import pytest
import tiny

from hermesflow_jax.data import pipeline
from hermesflow_jax.runtime import batching

RECORDS = [{'id': i} for i in range(10)]


def transform(record, rng):
  """The record's id, and what chance made of it."""
  return {'id': np.int32(record['id']), 'draw': np.float32(rng.random())}


def rows(start=0, process=0, processes=1, count=6, batch=4, seed=3):
  actual = pipeline.host_batches(
    RECORDS,
    transform,
    seed=seed,
    batch=batch,
    start=start,
    process=process,
    processes=processes,
  )
  return list(itertools.islice(actual, count))


def assert_same(actual, expected):
  for a, b in zip(actual, expected, strict=True):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize('processes', [2, 4])
def test_processes_share_out_the_batches_of_one(processes):
  shares = [rows(process=p, processes=processes) for p in range(processes)]
  whole = [
    jax.tree.map(lambda *a: np.concatenate(a), *item) for item in zip(*shares)
  ]
  assert_same(whole, rows())


def test_a_run_resumes_where_it_was():
  assert_same(rows(start=4, count=3), rows(count=7)[4:])


def test_each_epoch_holds_each_record_once_in_its_own_order():
  ids = np.concatenate([row['id'] for row in rows(count=10)])
  epochs = ids.reshape(4, 10)
  for epoch in epochs:
    assert sorted(epoch) == list(range(10))
  assert len({tuple(epoch) for epoch in epochs}) == 4


def test_chance_is_another_for_every_visit():
  draws = np.concatenate([row['draw'] for row in rows(count=10)])
  assert len(np.unique(draws)) == 40


def test_the_seed_decides():
  assert_same(rows(), rows())
  single, other = rows(count=1)[0], rows(count=1, seed=4)[0]
  assert not np.array_equal(single['id'], other['id'])
  assert not np.intersect1d(single['draw'], other['draw']).size


def test_a_batch_that_does_not_split_is_refused():
  with pytest.raises(ValueError, match='multiple of 2 processes, got 5'):
    rows(batch=5, processes=2)


def test_no_records_are_refused():
  with pytest.raises(ValueError, match='must hold records, got none'):
    next(
      pipeline.host_batches(
        [], transform, seed=0, batch=1, start=0, process=0, processes=1
      )
    )


def test_device_batches_are_the_host_batches():
  mesh = tiny.mesh(4, 2)
  actual = pipeline.batches(
    RECORDS, transform, seed=3, batch=4, start=2, mesh=mesh
  )
  batch = next(actual)
  assert_same([batch], rows(start=2, count=1))
  assert batch['id'].sharding.spec == jax.sharding.PartitionSpec('data')


def test_chunks_cover_every_row_once():
  for count in (1, 7, 8, 9, 16):
    actual = list(batching.index_chunks(count, 8))
    assert all(len(index) == 8 for index, _ in actual)
    kept = np.concatenate([index[:real] for index, real in actual])
    np.testing.assert_array_equal(kept, np.arange(count))


@pytest.mark.parametrize('count', [1, 8, 19])
@pytest.mark.parametrize('shape', [(1, 1), (8, 1), (4, 2)])
def test_mapping_in_chunks_equals_mapping_at_once(count, shape):
  rows = np.arange(count)
  arrays = {'a': rows[:, None] * np.array([1.0, 2.0, 3.0]), 'b': rows}

  def function(batch):
    return {'sum': batch['a'].sum(-1) + batch['b'], 'a': batch['a'] * 2}

  actual = batching.map_batches(jax.jit(function), arrays, 8, tiny.mesh(*shape))
  jax.tree.map(
    np.testing.assert_array_equal, actual, jax.device_get(function(arrays))
  )


def test_mapping_compiles_once():
  calls = []

  @jax.jit
  def function(batch):
    calls.append(1)
    return batch + 1

  batching.map_batches(function, np.arange(21), 8, tiny.mesh(8, 1))
  assert len(calls) == 1


def test_chunks_that_the_mesh_does_not_divide_are_refused():
  with pytest.raises(ValueError, match='chunk 6 .*=4'):
    batching.map_batches(jax.jit(abs), np.arange(6), 6, tiny.mesh(4, 2))


def test_mapping_nothing_is_refused():
  with pytest.raises(ValueError, match='no rows'):
    batching.map_batches(jax.jit(abs), np.zeros((0, 3)), 8, tiny.mesh(8, 1))


def test_seeds_derived_from_the_largest_ones_are_taken():
  """Pretraining triples its seed."""
  assert len(rows(seed=3 * (2**32 - 1) + 2, count=1)) == 1
