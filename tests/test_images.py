"""Images of strangers come as Show-o prepares them, or not at all."""

import io

import numpy as np
from PIL import Image
import pytest

from hermesflow_jax.data import images


def picture(width, height):
  rng = np.random.default_rng(0)
  return Image.fromarray(
      rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
  )


def saved(image, path, **options):
  image.save(path, **options)
  return path


def test_an_image_of_the_size_comes_bit_for_bit(tmp_path):
  image = picture(32, 32)
  found = images.load(saved(image, tmp_path / 'a.png'), 32)
  np.testing.assert_array_equal(found, np.asarray(image))


@pytest.mark.parametrize('size', [(48, 32), (32, 48)])
def test_the_centre_of_the_longer_side_is_kept(size):
  image = picture(*size)
  left, top = (size[0] - 32) // 2, (size[1] - 32) // 2
  np.testing.assert_array_equal(
      np.asarray(images.square(image, 32)),
      np.asarray(image)[top:top + 32, left:left + 32],
  )


def test_shrinking_is_antialiased(tmp_path):
  # Stripes of one pixel become grey, not stripes.
  stripes = np.zeros((64, 64, 3), np.uint8)
  stripes[:, ::2] = 255
  found = images.load(saved(Image.fromarray(stripes), tmp_path / 'a.png'), 16)
  assert 120 < found[4:12, 4:12].min() <= found[4:12, 4:12].max() < 136


@pytest.mark.parametrize('mode', ['L', 'RGBA', 'P', 'CMYK'])
def test_every_mode_becomes_rgb(mode, tmp_path):
  name = 'a.jpg' if mode == 'CMYK' else 'a.png'
  found = images.load(
      saved(picture(20, 20).convert(mode), tmp_path / name), 16
  )
  assert (found.shape, found.dtype) == ((16, 16, 3), np.uint8)


def broken_files():
  buffer = io.BytesIO()
  picture(64, 64).save(buffer, 'PNG')
  whole = buffer.getvalue()
  gif = io.BytesIO()
  picture(8, 8).save(gif, 'GIF')
  return {
      'empty': b'', 'text': b'no image', 'truncated': whole[:len(whole) // 2],
      'of another format': gif.getvalue(),
  }


@pytest.mark.parametrize('kind', sorted(broken_files()))
def test_what_is_no_whole_image_is_named(kind, tmp_path):
  path = tmp_path / 'a.png'
  path.write_bytes(broken_files()[kind])
  with pytest.raises(ValueError, match='a.png cannot be read'):
    images.load(path, 16)


def test_a_missing_image_is_named(tmp_path):
  with pytest.raises(ValueError, match='none.png cannot be read'):
    images.load(tmp_path / 'none.png', 16)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
  monkeypatch.setattr(images, 'MOST_PIXELS', 1000)
  with pytest.raises(ValueError, match='64 x 64 pixels, wanted at most 1000'):
    images.load(saved(picture(64, 64), tmp_path / 'a.png'), 16)
