"""Pixels of CLIP and Inception are those of the published preparations."""

import numpy as np
from PIL import Image
import pytest

from hermesflow_jax.data import image_reader
from hermesflow_jax.models import clip_pixels
from hermesflow_jax.models import inception_pixels


def images_of(*shape):
  return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


@pytest.mark.parametrize('size', [(40, 53), (33, 24), (16, 16), (16, 19)])
def test_clip_reads_what_the_image_reader_crops(size):
  image = images_of(*size)
  actual = clip_pixels.crop_square(image[None], 16)
  expected = image_reader.crop_square(Image.fromarray(image), 16)
  np.testing.assert_array_equal(actual[0], expected)


@pytest.mark.parametrize('size', [(64, 64), (91, 64)])
def test_text2image_benchmark_crops_then_rounds(size):
  image = images_of(*size)
  top = (size[0] - 64) // 2
  square = Image.fromarray(image[top : top + 64])
  expected = np.asarray(square.resize((299, 299), Image.Resampling.BICUBIC))
  actual = inception_pixels.text2image_benchmark(image[None])[0]
  np.testing.assert_allclose(actual, expected / 127.5 - 1, atol=1e-6)
  on_host = inception_pixels.square_of_photo(image)
  np.testing.assert_array_equal(on_host, expected)
  np.testing.assert_array_equal(inception_pixels.scale_pixels(on_host), actual)


@pytest.mark.parametrize('size', [(32, 48), (310, 301)])
def test_pytorch_fid_interpolates_without_antialiasing(size):
  torch = pytest.importorskip('torch')
  images = images_of(1, *size)
  x = torch.from_numpy(images.transpose(0, 3, 1, 2)).float() / 255
  x = torch.nn.functional.interpolate(
    x, size=(299, 299), mode='bilinear', align_corners=False
  )
  expected = (2 * x - 1).numpy().transpose(0, 2, 3, 1)
  actual = inception_pixels.pytorch_fid(images)
  np.testing.assert_allclose(actual, expected, atol=2e-5)


def test_clean_fid_neither_crops_nor_rounds():
  image = images_of(40, 56)
  channels = [
    Image.fromarray(image[..., c].astype(np.float32)).resize(
      (299, 299), Image.Resampling.BICUBIC
    )
    for c in range(3)
  ]
  expected = (np.stack(channels, -1) - 128) / 128
  actual = inception_pixels.clean_fid(image[None])[0]
  np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_preparations_are_listed_under_their_names():
  for name, function in inception_pixels.PREPARATIONS.items():
    assert function is getattr(inception_pixels, name)
