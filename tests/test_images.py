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


def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path):
  grey = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
  found = images.load(saved(Image.fromarray(grey), tmp_path / 'a.png'), 16)
  np.testing.assert_array_equal(found, (grey >> 8)[..., None].repeat(3, -1))


@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'P'])
def test_what_is_clear_is_white(tmp_path, mode):
  image = Image.new('RGBA', (8, 8), (200, 0, 0, 0))
  image.paste((0, 0, 0, 255), (0, 0, 4, 8))
  path = tmp_path / 'a.png'
  if mode == 'P':
    palette = Image.new('P', (8, 8), 1)
    palette.putpalette([0, 0, 0, 200, 0, 0])
    palette.paste(0, (0, 0, 4, 8))
    palette.save(path, transparency=1)
  else:
    image.convert(mode).save(path)
  found = images.load(path, 8)
  assert (found[:, :4] == 0).all() and (found[:, 4:] == 255).all()


def test_photos_come_upright(tmp_path):
  exif = Image.Exif()
  exif[0x0112] = 6  # Turned by 90 degrees.
  image = Image.new('RGB', (16, 16), 'white')
  image.paste('black', (0, 0, 16, 8))
  path = saved(image, tmp_path / 'a.png', exif=exif)
  found = images.load(path, 16)
  assert (found[:, 8:] == 0).all() and (found[:, :8] == 255).all()


@pytest.mark.parametrize('kind', ['png', 'webp'])
def test_an_animated_image_is_refused(tmp_path, kind):
  frames = [Image.new('RGB', (8, 8), color) for color in ('red', 'blue')]
  path = tmp_path / f'a.{kind}'
  frames[0].save(path, save_all=True, append_images=frames[1:])
  with pytest.raises(ValueError, match='it has 2 frames, wanted one'):
    images.load(path, 8)


def test_a_mask_is_cut_like_its_image(tmp_path):
  of = saved(picture(48, 32), tmp_path / 'a.png')
  mask = Image.new('L', (48, 32), 0)
  mask.paste(255, (8, 0, 24, 16))
  found = images.load_mask(saved(mask, tmp_path / 'm.png'), of, 32)
  wanted = np.zeros((32, 32), bool)
  wanted[:16, :16] = True
  np.testing.assert_array_equal(found, wanted)


def test_a_mask_of_another_size_is_refused(tmp_path):
  of = saved(picture(48, 32), tmp_path / 'a.png')
  mask = saved(picture(32, 48), tmp_path / 'm.png')
  with pytest.raises(
      ValueError, match='m.png has 32 x 48 pixels, image .*a.png 48 x 32'):
    images.load_mask(mask, of, 32)
