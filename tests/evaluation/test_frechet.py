"""The Frechet distance is that of its definition, on any mesh."""

import jax
import numpy as np
import pytest

from hermesflow_jax.evaluation import frechet
from hermesflow_jax.runtime import sharding


def features_of(count, size, seed=0):
  """Correlated features with a mean far from 0, as after a ReLU."""
  rng = np.random.default_rng(seed)
  mixing = rng.normal(size=(size, size)) / size
  return 3 + rng.normal(size=(count, size)) @ mixing + 0.1 * seed


def statistics_of(features):
  moments = frechet.Moments(features.shape[1])
  moments.add(features)
  return moments.statistics()


def test_statistics_of_batches_are_those_of_all_features():
  features = features_of(101, 7)
  moments = frechet.Moments(7)
  for part in np.split(features, [1, 2, 2, 40]):
    moments.add(part)
  actual = moments.statistics()
  np.testing.assert_allclose(actual.mean, features.mean(0), rtol=1e-13)
  np.testing.assert_allclose(
    actual.covariance, np.cov(features, rowvar=False), rtol=1e-11, atol=1e-14
  )


def test_a_mean_far_away_costs_no_digits():
  features = features_of(50, 3)
  near, far = statistics_of(features), statistics_of(features + 1e6)
  np.testing.assert_allclose(far.covariance, near.covariance, rtol=1e-8)


@pytest.mark.parametrize('counts', [(200, 200), (30, 200), (30, 25)])
def test_the_distance_is_that_of_the_definition(counts):
  """tr (C1 C2)^(1/2) by scipy's square root of a matrix, as papers have it.

  Fewer features than dimensions have a singular covariance.
  """
  linalg = pytest.importorskip('scipy.linalg')
  a, b = (
    statistics_of(features_of(count, 40, seed))
    for seed, count in enumerate(counts)
  )
  root = linalg.sqrtm(a.covariance @ b.covariance)
  expected = ((a.mean - b.mean) ** 2).sum() + np.trace(
    a.covariance + b.covariance - 2 * root.real
  )
  rel = 1e-9 if min(counts) > 40 else 1e-6  # The root of a singular product.
  assert frechet.distance(a, b) == pytest.approx(expected, rel=rel)
  assert frechet.distance(b, a) == pytest.approx(expected, rel=rel)


def test_decompositions_with_vectors_are_not_computed(monkeypatch):
  """They take most of the time at 2,048 dimensions."""
  for name in ('svd', 'eigh', 'eig', 'qr'):
    monkeypatch.setattr(np.linalg, name, None)
  shapes, eigvalsh = [], np.linalg.eigvalsh
  monkeypatch.setattr(
    np.linalg, 'eigvalsh', lambda a: shapes.append(a.shape) or eigvalsh(a)
  )
  regular, singular = (
    statistics_of(features_of(count, 12)) for count in (200, 5)
  )
  frechet.distance(regular, regular)
  frechet.distance(regular, singular)
  # The size is the lower rank; 5 features have rank 4.
  assert shapes == [(12, 12), (4, 4)]


def test_directions_that_hardly_overlap_cost_no_digits():
  """The eigenvalues of the Gram matrix would lose them."""
  a, b = np.diag([1.0, 1e-9]), np.diag([1.0, 1e-11])
  mean = np.zeros(2)
  assert frechet.distance(
    frechet.Statistics(mean, a), frechet.Statistics(mean, b)
  ) == pytest.approx(1e-9 + 1e-11 - 2e-10, abs=1e-15)


def test_the_distance_of_normal_distributions_in_one_dimension():
  """(m1 - m2)^2 + (s1 - s2)^2."""
  a = frechet.Statistics(np.array([1.0]), np.array([[4.0]]))
  b = frechet.Statistics(np.array([4.0]), np.array([[25.0]]))
  assert frechet.distance(a, b) == pytest.approx(9 + 9)


@pytest.mark.parametrize('count', [5, 200])
def test_equal_statistics_have_the_distance_0(count):
  """With 5 features of width 12 the covariance is singular."""
  a = statistics_of(features_of(count, 12))
  assert abs(frechet.distance(a, a)) < 1e-12


def test_few_images_are_compared_without_complex_numbers():
  """The distance of singular covariances is the limit of regular ones."""
  a, b = (statistics_of(features_of(5, 12, seed)) for seed in (0, 1))
  regular = [
    frechet.Statistics(s.mean, s.covariance + 1e-12 * np.eye(12))
    for s in (a, b)
  ]
  assert frechet.distance(a, b) == pytest.approx(
    frechet.distance(*regular), abs=1e-5
  )


@pytest.mark.parametrize('counts', [(16,), (3, 13, 0), (1, 1, 14)])
def test_statistics_do_not_depend_on_batches_or_mesh(counts):
  images = np.random.default_rng(0).integers(0, 256, (16, 2, 2, 3), np.uint8)
  extract = jax.jit(lambda x: x.reshape(len(x), -1)[:, :5] / 255.0)
  mesh = sharding.make_mesh(data=4, model=2)
  actual = frechet.image_statistics(
    extract, np.split(images, np.cumsum(counts)[:-1]), 8, mesh
  )
  expected = statistics_of(np.asarray(extract(images)))
  np.testing.assert_allclose(actual.mean, expected.mean, rtol=1e-12)
  np.testing.assert_allclose(
    actual.covariance, expected.covariance, rtol=1e-10, atol=1e-15
  )


def test_what_cannot_be_compared_is_refused():
  mesh = sharding.make_mesh(data=8)
  with pytest.raises(ValueError, match='at least 2 images, got 0'):
    frechet.image_statistics(None, [], 8, mesh)
  with pytest.raises(ValueError, match='at least 2 images, got 1'):
    statistics_of(np.zeros((1, 3)))
  with pytest.raises(ValueError, match='must be finite'):
    statistics_of(np.array([[1.0], [np.nan]]))
  with pytest.raises(ValueError, match='same width, got 3 and 4'):
    frechet.distance(
      statistics_of(features_of(9, 3)), statistics_of(features_of(9, 4))
    )
  with pytest.raises(ValueError, match=r'\[D\] and \[D, D\], got \(2,\)'):
    frechet.Statistics(np.zeros(2), np.zeros((3, 3)))
