"""The CLIP score is the mean cosine of pairs, times 100, on any mesh."""

import jax
import numpy as np
import pytest
import torch_weights

from hermesflow_jax.evaluation import clip_score
from hermesflow_jax.models import clip_pixels
from hermesflow_jax.runtime import sharding

IMAGES = np.random.default_rng(0).integers(0, 256, (11, 14, 18, 3), np.uint8)
TOKENS = np.random.default_rng(1).integers(1, 39, (11, 6)).astype(np.int32)
TOKENS[:, -1] = 39


def cosines_of(model, images, tokens):
  return model.cosines(clip_pixels.prepare_pixels(images, 12), tokens)


def test_scores_of_pairs_are_those_of_single_pairs():
  """Eleven pairs in calls of eight: the second call is padded."""
  model = torch_weights.model('clip')
  function = jax.jit(lambda images, tokens: cosines_of(model, images, tokens))
  mesh = sharding.make_mesh(data=8)
  actual = clip_score.pair_cosines(function, IMAGES, TOKENS, 8, mesh)
  assert actual.shape == (11,) and np.ptp(actual) > 0.01
  features = jax.jit(
    lambda x, t: (
      model.image_features(clip_pixels.prepare_pixels(x, 12)),
      model.text_features(t),
    )
  )
  images, texts = map(np.asarray, features(IMAGES, TOKENS))
  np.testing.assert_allclose(actual, (images * texts).sum(1), atol=1e-6)
  assert clip_score.clip_score(actual) == pytest.approx(
    100 * np.mean(actual.astype(np.float64)), rel=1e-12
  )


def test_negative_cosines_count():
  assert clip_score.clip_score(np.array([0.5, -0.25])) == 12.5


def test_pairs_that_are_none_are_refused():
  mesh = sharding.make_mesh(data=8)
  with pytest.raises(ValueError, match='got 11 images and 10 texts'):
    clip_score.pair_cosines(None, IMAGES, TOKENS[:10], 8, mesh)
  with pytest.raises(ValueError, match='got 0 of which 0'):
    clip_score.clip_score(np.zeros(0))
  with pytest.raises(ValueError, match='got 2 of which 1'):
    clip_score.clip_score(np.array([1.0, np.nan]))
