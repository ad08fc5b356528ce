"""Statistics come back from files, and other files are refused in a line."""

import numpy as np
import pytest

from hermesflow_jax.evaluation import frechet
from hermesflow_jax.evaluation import frechet_files

STATISTICS = frechet.Statistics(
  np.array([0.1, 2]), np.array([[3, 1], [1, 4.0]])
)


def test_statistics_come_back_bit_for_bit(tmp_path):
  path = str(tmp_path / 'real.npz')
  frechet_files.write_statistics(path, STATISTICS)
  actual = frechet_files.read_statistics(path)
  np.testing.assert_array_equal(actual.mean, STATISTICS.mean)
  np.testing.assert_array_equal(actual.covariance, STATISTICS.covariance)
  with np.load(path) as arrays:
    assert sorted(arrays.files) == ['mu', 'sigma']


@pytest.mark.parametrize(
  'arrays, output',
  [
    (dict(mu=np.zeros(2)), 'sigma is not a file'),
    (dict(mu=np.zeros(2), sigma=np.zeros((3, 3))), r'got \(2,\) and \(3, 3\)'),
    (dict(mu=np.full(1, np.nan), sigma=np.zeros((1, 1))), 'must be finite'),
    (dict(mu=np.array('x'), sigma=np.zeros((1, 1))), 'could not convert'),
  ],
)
def test_files_with_other_arrays_are_refused(tmp_path, arrays, output):
  np.savez(tmp_path / 'real.npz', **arrays)
  with pytest.raises(ValueError, match=output) as error:
    frechet_files.read_statistics(str(tmp_path / 'real.npz'))
  assert 'real.npz must be an npz file' in str(error.value)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('content', [b'', b'text', b'PK\x03\x04damaged'])
def test_other_files_are_refused(tmp_path, content):
  (tmp_path / 'real.npz').write_bytes(content)
  with pytest.raises(ValueError, match='must be an npz file'):
    frechet_files.read_statistics(str(tmp_path / 'real.npz'))
  with pytest.raises(ValueError, match='no statistics at'):
    frechet_files.read_statistics(str(tmp_path / 'none.npz'))
