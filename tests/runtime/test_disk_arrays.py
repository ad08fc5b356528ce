"""Large arrays lie in files, with the values that memory would hold."""

import io
import os
import tempfile
import zipfile

import jax
import memory_growth
import numpy as np
import pytest
import tiny

from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import npz_files

RNG = np.random.default_rng(0)


@pytest.fixture
def on_disk(monkeypatch):
  monkeypatch.setattr(disk_arrays, 'MOST_BYTES', 0)


def fill(count):
  array = disk_arrays.empty((count, 1_000), np.int32)
  array[:] = np.arange(count)[:, None]
  return array


def test_memory_does_not_grow_with_an_array_on_disk(on_disk):
  memory_growth.check_below(1_000, fill)
  assert fill(3)[:, -1].tolist() == [0, 1, 2]


@pytest.mark.parametrize('place', ['memory', 'file'])
def test_rows_are_stacked_and_taken(monkeypatch, place):
  if place == 'file':
    monkeypatch.setattr(disk_arrays, 'MOST_BYTES', 0)
    monkeypatch.setattr(disk_arrays, '_COPIED', 2)
  rows = RNG.integers(0, 9, (5, 3, 2))
  stacked = disk_arrays.stack(list(rows))
  np.testing.assert_array_equal(stacked, rows)
  assert stacked.dtype == rows.dtype
  for places in ([4, 0, 0, 2, 1], []):
    np.testing.assert_array_equal(
      disk_arrays.take(stacked, places), rows[np.array(places, int)]
    )
  joined = disk_arrays.join([rows[:2], rows[2:2], rows[2:]])
  np.testing.assert_array_equal(joined, rows)
  assert joined.dtype == rows.dtype
  with pytest.raises(ValueError, match='at least one'):
    disk_arrays.stack([])
  with pytest.raises(ValueError, match='got .2,'):
    disk_arrays.stack([np.zeros(3), np.zeros(2)])


@pytest.mark.parametrize('most', [0, 2**20])
def test_integers_are_added_one_by_one(monkeypatch, most):
  monkeypatch.setattr(disk_arrays, 'MOST_BYTES', most)
  expected = RNG.integers(-(2**63), 2**63 - 1, 100).tolist()
  actual = disk_arrays.Integers(expected[:3])
  actual.extend(expected[3:])
  assert len(actual) == 100 and list(actual) == expected
  assert all(type(value) is int for value in actual)
  assert actual[7:20:2].tolist() == expected[7:20:2]
  assert np.asarray(actual, float).tolist() == [float(n) for n in expected]
  actual[5] = -1
  assert actual.array[5] == actual[5] == actual[-95] == -1
  for place in (100, -101):
    with pytest.raises(IndexError):
      actual[place]


def test_integers_have_a_type():
  values = disk_arrays.Integers(range(40), np.int32)
  assert values.array.dtype == np.int32 and list(values) == [*range(40)]
  for value in (1.5, '3', None):
    with pytest.raises(TypeError):
      values.append(value)
  for value in (2**31, -(2**31) - 1):
    with pytest.raises(OverflowError):
      values.append(value)
  copied = np.array(values)
  copied[0] = 7
  assert values[0] == 0 and len(values) == 40


def test_memory_does_not_grow_with_integers(on_disk):
  run = lambda count: disk_arrays.Integers(range(count))
  memory_growth.check_below(4, run, 100, 20_100)


def test_fields_of_parts_are_joined(on_disk):
  parts = [
    {'a': RNG.normal(size=(n, 2)), 'b': np.arange(n, dtype=np.int8), 'c': 0}
    for n in (3, 0, 2)
  ]
  joined = disk_arrays.join_fields(iter(parts), 5, ('a', 'b'))
  assert joined.keys() == {'a', 'b'}
  for field in joined:
    expected = np.concatenate([part[field] for part in parts])
    np.testing.assert_array_equal(joined[field], expected)
    assert joined[field].dtype == expected.dtype
  with pytest.raises(ValueError, match='6 rows, got 5'):
    disk_arrays.join_fields(parts, 6, ('a',))
  with pytest.raises(ValueError):
    disk_arrays.join_fields(parts, 4, ('a',))
  parts[2]['b'] = parts[2]['b'][:1]
  with pytest.raises(ValueError, match='as many rows'):
    disk_arrays.join_fields(parts, 5, ('a', 'b'))


def test_small_arrays_are_in_memory():
  assert memory_growth.peak_per_input(fill) >= 4_000


def test_no_file_stays_behind(on_disk, monkeypatch, tmp_path):
  monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
  assert fill(2).sum() == 1_000
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('fault', [OSError('disk full'), None])
def test_memory_holds_what_the_disk_does_not(on_disk, monkeypatch, fault):
  """Also on systems that cannot reserve space."""

  def refuse(*_):
    raise fault

  if fault:
    monkeypatch.setattr(os, 'posix_fallocate', refuse)
  else:
    monkeypatch.delattr(os, 'posix_fallocate')
  assert fill(2).tolist() == [[0] * 1_000, [1] * 1_000]


def test_results_of_batches_on_disk_are_the_same(monkeypatch):
  rows = RNG.normal(size=(5, 3)).astype(np.float32)

  def double(batch):
    return {'twice': 2 * batch, 'first': batch[:, 0] > 0}

  def result():
    return batching.map_batches(jax.jit(double), rows, 2, tiny.mesh(1, 1))

  expected = result()
  monkeypatch.setattr(disk_arrays, 'MOST_BYTES', 0)
  actual = result()
  np.testing.assert_array_equal(expected['twice'], 2 * rows)
  for name, values in expected.items():
    np.testing.assert_array_equal(actual[name], values)
    assert actual[name].dtype == values.dtype


@pytest.mark.parametrize(
  'array',
  [
    RNG.integers(0, 9, (3, 2, 4)),
    np.asfortranarray(RNG.normal(size=(4, 3))),
    np.zeros((0, 4), np.int32),
    np.array(3.5),
    np.array([True, False]),
  ],
)
def test_arrays_return_from_archives(on_disk, tmp_path, array):
  np.savez_compressed(tmp_path / 'a.npz', other=np.ones(3), values=array)
  with zipfile.ZipFile(tmp_path / 'a.npz') as archive:
    actual = npz_files.read_array(archive, 'values')
  np.testing.assert_array_equal(actual, array)
  assert (actual.dtype, actual.shape) == (array.dtype, array.shape)


def test_a_changed_array_is_not_read(tmp_path):
  path = tmp_path / 'a.npz'
  np.savez(path, values=np.arange(1_000, dtype=np.int32))
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)
  with (
    zipfile.ZipFile(path) as archive,
    pytest.raises(zipfile.BadZipFile, match='CRC'),
  ):
    npz_files.read_array(archive, 'values')


def test_an_array_that_ends_too_early_is_not_read(tmp_path):
  buffer = io.BytesIO()
  np.lib.format.write_array(buffer, np.arange(1_000))
  with zipfile.ZipFile(tmp_path / 'a.npz', 'w') as archive:
    archive.writestr('values.npy', buffer.getvalue()[:-8])
  with (
    zipfile.ZipFile(tmp_path / 'a.npz') as archive,
    pytest.raises(EOFError, match='values ends too early'),
  ):
    npz_files.read_array(archive, 'values')
