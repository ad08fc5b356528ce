"""Rows are built when their batch is computed."""

import numpy as np
import pytest
import tiny

from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import sharding

COUNT = 7


def test_a_map_builds_a_batch_while_the_last_is_computed():
  built, begun = [], []

  def build(index):
    built.extend(index.tolist())
    return {'number': index, 'twice': 2 * index}

  def total(batch):
    begun.append(len(built))
    return batch['number'] + batch['twice'] + batch['more']

  more = 100 * np.arange(COUNT)
  rows = batching.BuiltRows(COUNT, lambda index: build(index))
  values = batching.map_batches(
    lambda batch: total(batch[0] | {'more': batch[1]}),
    (rows, more),
    2,
    tiny.mesh(1, 1),
  )
  np.testing.assert_array_equal(values, 103 * np.arange(COUNT))
  # The last batch repeats its last row.
  assert built == [*range(COUNT), COUNT - 1] and begun == [2, 4, 6, 8]


@pytest.mark.parametrize(
  'place, divided, own',
  [((2, 4), True, 2), ((2, 4), False, 4), (ValueError('odd'), True, 4)],
)
def test_each_of_several_processes_builds_its_own_rows(
  monkeypatch, place, divided, own
):
  """This process is the second of two.

  It builds all rows for an odd mesh, and by a function that must see them.
  """
  built, put = [], sharding.put_batch

  def build(index):
    built.append(len(index))
    return index

  def process_rows(mesh, size):
    if isinstance(place, ValueError):
      raise place
    return place

  def put_batch(rows, mesh, first, size):
    # The devices of the first have theirs.
    complete = np.concatenate([np.zeros(size - own, int), rows[0]])
    assert (first, size) == (4 - own, 4)
    return put((complete,), mesh)

  monkeypatch.setattr(processes, 'single_process', lambda: False)
  monkeypatch.setattr(processes, 'to_host', np.asarray)
  monkeypatch.setattr(sharding, 'process_rows', process_rows)
  monkeypatch.setattr(sharding, 'put_batch', put_batch)
  values = batching.map_batches(
    lambda batch: 3 * batch[0],
    (batching.BuiltRows(8, build, divided),),
    4,
    tiny.mesh(1, 1),
  )
  assert built == [own, own]
  expected = 3 * np.arange(8).reshape(2, 4)
  np.testing.assert_array_equal(
    values.reshape(2, 4)[:, 4 - own :], expected[:, 4 - own :]
  )
