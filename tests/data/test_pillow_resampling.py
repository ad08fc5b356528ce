"""Images that JAX resizes are those of Pillow, bit for bit."""

import jax
import numpy as np
from PIL import Image
import pytest

from hermesflow_jax.data import pillow_resampling

FILTERS = {
  'bilinear': Image.Resampling.BILINEAR,
  'bicubic': Image.Resampling.BICUBIC,
}


@pytest.mark.parametrize('method', FILTERS)
@pytest.mark.parametrize(
  'size, new_size',
  [((13, 40), (7, 9)), ((5, 4), (11, 13)), ((9, 50), (9, 3)), ((1, 2), (3, 2))],
)
def test_every_bit_is_pillows(method, size, new_size):
  rng = np.random.default_rng(0)
  # Extreme pixels overshoot most, so clipping matters.
  images = rng.choice([0, 3, 128, 255], (2, *size, 3)).astype(np.uint8)
  actual = pillow_resampling.resize(images, new_size, method)
  for image, resized in zip(images, actual):
    expected = Image.fromarray(image).resize(new_size[::-1], FILTERS[method])
    np.testing.assert_array_equal(resized, expected)


def test_a_photograph_is_resized_as_by_pillow():
  """Sizes of photographs, where weights have most digits to round."""
  rng = np.random.default_rng(1)
  image = rng.integers(0, 256, (480, 641, 3), np.uint8)
  resize = jax.jit(pillow_resampling.resize, static_argnums=(1, 2))
  actual = resize(image, (224, 299), 'bicubic')
  expected = Image.fromarray(image).resize((299, 224), FILTERS['bicubic'])
  np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize('method', FILTERS)
def test_without_rounding_it_is_the_mode_for_floats(method):
  rng = np.random.default_rng(0)
  image = rng.uniform(0, 255, (17, 23)).astype(np.float32)
  actual = pillow_resampling.resize_float(image[..., None], (9, 31), method)
  expected = Image.fromarray(image).resize((31, 9), FILTERS[method])
  # Sums of float32 in another precision.
  np.testing.assert_allclose(actual[..., 0], expected, atol=1e-4)
