"""Archives are written in parts, with the bytes that numpy writes."""

import io

import memory_growth
import numpy as np
import pytest

from hermesflow_jax.runtime import npz_files

RNG = np.random.default_rng(0)
CODES = RNG.integers(0, 8192, (7, 3, 5)).astype(np.int32)


class RowsOnDemand:
  """An array whose rows are made when they are taken."""

  dtype = np.dtype(np.int32)

  def __init__(self, count, size):
    self.shape = count, size

  def __len__(self):
    return self.shape[0]

  def __getitem__(self, index):
    count = len(range(*index.indices(len(self))))
    return np.arange(count * self.shape[1], dtype=np.int32).reshape(count, -1)


class Slices:
  """An array that can only be taken in slices of rows."""

  def __init__(self, array):
    self._array, self.shape, self.dtype = array, array.shape, array.dtype

  def __len__(self):
    return len(self._array)

  def __getitem__(self, index):
    assert isinstance(index, slice)
    return self._array[index]


@pytest.mark.parametrize('count', [0, 1, 7])
def test_the_bytes_are_those_of_numpy(tmp_path, monkeypatch, count):
  # Two rows at a time.
  monkeypatch.setattr(npz_files, '_BYTES', 2 * 3 * 5 * 4 + 1)
  arrays = {
    'real': np.asfortranarray(RNG.normal(size=(4, 2))),
    'codes': CODES[:count],
    'captions': np.frombuffer(b'["a"]', np.uint8),
  }
  buffer = io.BytesIO()
  np.savez_compressed(buffer, **arrays)
  arrays['codes'] = Slices(arrays['codes'])
  npz_files.write(tmp_path / 'folder' / 'a.npz', **arrays)
  assert (tmp_path / 'folder' / 'a.npz').read_bytes() == buffer.getvalue()


def test_a_fault_leaves_no_file(tmp_path):
  class Faulty(Slices):
    def __getitem__(self, index):
      raise OSError('gone')

  with pytest.raises(OSError, match='gone'):
    npz_files.write(tmp_path / 'a.npz', codes=Faulty(CODES))
  assert not list(tmp_path.iterdir())


def test_memory_does_not_grow_with_the_rows(tmp_path, monkeypatch):
  monkeypatch.setattr(npz_files, '_BYTES', 2**13)

  def write(count):
    npz_files.write(tmp_path / 'a.npz', codes=RowsOnDemand(count, 1024))

  memory_growth.check_below(1_000, write)
