"""Files of statistics: an npz with `mu` and `sigma`, as pytorch-fid writes it.

Published distances compare with such a file of the real images.
"""

import io
import zipfile

import numpy as np

from hermesflow_jax.evaluation import frechet
from hermesflow_jax.runtime import storage

NAMES = ('mu', 'sigma')


def read_statistics(path: str) -> frechet.Statistics:
  """Reads statistics.

  Args:
    path: npz file with `mu` [D] and `sigma` [D, D]; other arrays are ignored.

  Raises:
    ValueError: the file is missing, is no npz file or holds other arrays. The
      one-line message names the file.
  """
  file = storage.path(path)
  if not file.exists():
    raise ValueError(f'no statistics at {path}')
  try:
    # numpy does not close a file that it opened and cannot read.
    with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
      mean, covariance = (np.float64(arrays[name]) for name in NAMES)
    return frechet.Statistics(mean, covariance)
  except (
    *storage.failures(),
    *(EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile),
  ) as error:
    reason = str(error).strip('\'"').split('\n')[0]
    raise ValueError(
      f'{path} must be an npz file with mu [D] and sigma [D, D]: {reason}'
    ) from error


def write_statistics(path: str, statistics: frechet.Statistics) -> None:
  """Writes statistics, which pytorch-fid reads, too.

  Args:
    path: npz file, in an existing folder; an existing file is replaced.
    statistics: statistics of a set of images.
  """
  buffer = io.BytesIO()
  np.savez(buffer, mu=statistics.mean, sigma=statistics.covariance)
  storage.write(storage.path(path), buffer.getvalue())
