"""Frechet distance between two sets of images (arXiv 1706.08500).

Both sets are described by their features' mean and covariance. With the
features of models/inception.py it is the Frechet Inception distance:

  d = |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))

All sums are float64 on the host: a difference of float32 covariances would lose
the digits that papers print.
"""

from collections.abc import Callable
from collections.abc import Iterable
import dataclasses

import numpy as np

from hermesflow_jax.runtime import batching

# Rounding error of the distance, relative to the traces of both covariances.
_PRECISION = 1e-10


@dataclasses.dataclass(frozen=True)
class Statistics:
  """Feature mean and covariance.

  Attributes:
    mean: float64[D].
    covariance: float64[D, D], with N - 1 in the denominator, as `numpy.cov`.

  Raises:
    ValueError: the shapes do not fit, or a value is not finite.
  """

  mean: np.ndarray
  covariance: np.ndarray

  def __post_init__(self):
    size = self.mean.shape
    if len(size) != 1 or self.covariance.shape != size * 2:
      raise ValueError(
        f'mean and covariance must have shapes [D] and [D, D], got {size} and '
        f'{self.covariance.shape}'
      )
    if not (
      np.isfinite(self.mean).all() and np.isfinite(self.covariance).all()
    ):
      raise ValueError(
        'mean and covariance must be finite: a feature is NaN or infinite'
      )


class Moments:
  """Sums of features that are updated batch by batch.

  Args:
    size: D, feature width.

  Attributes:
    count: N, features so far.
    mean: float64[D], their mean.
    scatter: float64[D, D], sum of (x - mean) (x - mean)^T.
  """

  def __init__(self, size: int):
    self.count = 0
    self.mean = np.zeros(size)
    self.scatter = np.zeros((size, size))

  def add(self, features: np.ndarray) -> None:
    """Adds features, by the pairwise update of Chan, Golub and LeVeque (1979).

    Args:
      features: float[N, D].
    """
    features = np.asarray(features, np.float64)
    count = len(features)
    if not count:
      return
    mean = features.mean(0)
    centered = features - mean
    shift, total = mean - self.mean, self.count + count
    self.scatter += centered.T @ centered
    self.scatter += np.outer(shift, shift) * (self.count * count / total)
    self.mean += shift * (count / total)
    self.count = total

  def statistics(self) -> Statistics:
    """Returns mean and covariance.

    Raises:
      ValueError: fewer than two features were added.
    """
    if self.count < 2:
      raise ValueError(
        f'a covariance needs at least 2 images, got {self.count}'
      )
    return Statistics(self.mean.copy(), self.scatter / (self.count - 1))


def image_statistics(
  extract: Callable, batches: Iterable[np.ndarray], size: int, mesh
) -> Statistics:
  """Computes image statistics on a mesh, without holding all images.

  Args:
    extract: compiled function uint8[size, H, W, 3] -> float32[size, D]; it
      prepares the pixels, too (models/inception_pixels.py).
    batches: arrays uint8[N, H, W, 3] of any numbers of images. Each is split
      over the mesh's `data` axis, and the last rows are padded, so that only
      one shape is compiled. Arrays much smaller than `size` waste time.
    size: images per call, a multiple of the mesh's `data` axis.
    mesh: device mesh from `sharding.make_mesh`.

  Returns:
    The statistics; pads do not count.

  Raises:
    ValueError: fewer than two images, or a feature is not finite.
  """
  moments = None
  for images in batches:
    if not len(images):
      continue
    features = batching.map_batches(extract, images, size, mesh)
    moments = moments or Moments(features.shape[1])
    moments.add(features)
  if moments is None:
    raise ValueError('a covariance needs at least 2 images, got 0')
  return moments.statistics()


def distance(a: Statistics, b: Statistics) -> float:
  """Computes the squared Frechet distance, which papers print as FID.

  The trace of (C1 C2)^(1/2) is the sum of the singular values of R1^T R2, where
  R R^T = C. So it is real and not negative, also if the covariances are
  singular, where `scipy.linalg.sqrtm` of the product is not.

  Args:
    a: a set's statistics.
    b: the other set's statistics.

  Returns:
    At least 0, but for rounding; 0 for equal statistics.

  Raises:
    ValueError: the features have different widths.
  """
  if a.mean.shape != b.mean.shape:
    raise ValueError(
      f'features must have the same width, got {a.mean.shape[0]} and '
      f'{b.mean.shape[0]}: compare statistics of the same network'
    )
  shift = ((a.mean - b.mean) ** 2).sum()
  traces = np.trace(a.covariance) + np.trace(b.covariance)
  product = _root(a.covariance).T @ _root(b.covariance)
  overlap = _sum_of_singular_values(product, _PRECISION * traces)
  return float(shift + traces - 2 * overlap)


def _root(covariance: np.ndarray) -> np.ndarray:
  """Returns R [D, rank] with R R^T = covariance, by pivoted Cholesky."""
  from scipy.linalg import lapack

  # The factor has the rank that LAPACK finds, so few images cost little.
  lower, order, rank, _ = lapack.dpstrf(covariance, lower=1)
  root = np.empty((len(covariance), rank))
  root[order - 1] = np.tril(lower)[:, :rank]
  return root


def _sum_of_singular_values(matrix: np.ndarray, error: float) -> float:
  """Returns the sum of the singular values, with at most this absolute error.

  Eigenvalues of the Gram matrix take a quarter of the time of a singular value
  decomposition, and lose digits of small singular values alone.
  """
  if not matrix.size:
    return 0.0
  if len(matrix) > len(matrix[0]):
    matrix = matrix.T
  squares = np.linalg.eigvalsh(matrix @ matrix.T)
  rounding = np.finfo(squares.dtype).eps * squares[-1]
  values = np.sqrt(np.maximum(squares, rounding))
  if (rounding / 2 / values).sum() > error:
    return np.linalg.svd(matrix, compute_uv=False).sum()
  return values.sum()
