"""Images of strangers come as Show-o prepares them, or not at all."""

import io

import numpy as np
from PIL import Image
import pytest

from hermesflow_jax.data import image_reader


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
  actual = image_reader.load_image(saved(image, tmp_path / 'a.png'), 32)
  np.testing.assert_array_equal(actual, np.asarray(image))


@pytest.mark.parametrize('size', [(48, 32), (32, 48)])
def test_the_center_of_the_longer_side_is_kept(size):
  image = picture(*size)
  left, top = (size[0] - 32) // 2, (size[1] - 32) // 2
  np.testing.assert_array_equal(
    np.asarray(image_reader.crop_square(image, 32)),
    np.asarray(image)[top : top + 32, left : left + 32],
  )


# Shapes of COCO, JourneyDB and others: width, height, the side that is wanted;
# then width and height of torchvision's Resize(side), left and top of its
# CenterCrop(side). The long side is int(side * long / short), the crop begins
# at int(round((width - side) / 2.0)).
TORCHVISION = """
 640  480 256 | 341 256  42   0
 480  640 256 | 256 341   0  42
 640  427 256 | 383 256  64   0
 427  640 256 | 256 383   0  64
 500  375 256 | 341 256  42   0
 375  500 256 | 256 341   0  42
 640  426 256 | 384 256  64   0
 612  612 256 | 256 256   0   0
1456  816 256 | 456 256 100   0
 816 1456 256 | 256 456   0 100
 928 1232 256 | 256 339   0  42
1232  928 256 | 339 256  42   0
1024 1024 256 | 256 256   0   0
1344  896 256 | 384 256  64   0
 333  500 256 | 256 384   0  64
 640  361 256 | 453 256  98   0
 200  150 256 | 341 256  42   0
 257  256 256 | 257 256   0   0
 640  480 512 | 682 512  85   0
 480  640 512 | 512 682   0  85
 640  427 512 | 767 512 128   0
 427  640 512 | 512 767   0 128
 500  375 512 | 682 512  85   0
 375  500 512 | 512 682   0  85
 640  426 512 | 769 512 128   0
 612  612 512 | 512 512   0   0
1456  816 512 | 913 512 200   0
 816 1456 512 | 512 913   0 200
 928 1232 512 | 512 679   0  84
1232  928 512 | 679 512  84   0
1024 1024 512 | 512 512   0   0
1344  896 512 | 768 512 128   0
 333  500 512 | 512 768   0 128
 640  361 512 | 907 512 198   0
 200  150 512 | 682 512  85   0
 257  256 512 | 514 512   1   0
"""


def cases():
  """(width, height), side, resized (width, height), (left, top)."""
  for line in TORCHVISION.split('\n')[1:-1]:
    width, height, side, *expected = map(int, line.replace('|', '').split())
    yield (width, height), side, tuple(expected[:2]), tuple(expected[2:])


@pytest.mark.parametrize('shape, side, resized, begin', list(cases()))
def test_shapes_and_crops_are_those_of_torchvision(shape, side, resized, begin):
  calls = []

  class Recorder:
    """Notes what is done to an image, without pixels."""

    def __init__(self, size):
      self.size = size

    def resize(self, size, resample):
      calls.append((tuple(size), resample))
      return Recorder(size)

    def crop(self, box):
      calls.append(box)

  image_reader.crop_square(Recorder(shape), side)
  left, top = begin
  assert calls == [
    (resized, Image.Resampling.BICUBIC),
    (left, top, left + side, top + side),
  ]
  assert image_reader.resized_shape(shape, side) == resized


@pytest.mark.parametrize(
  'shape, side, resized, begin',
  [
    case
    for case in cases()
    # The nearest long side is a pixel longer in the first and the third; the
    # crop of the second begins at 127.5 pixels.
    if case[:2] in (((640, 480), 512), ((640, 427), 512), ((928, 1232), 256))
  ],
)
def test_pixels_are_those_of_pillow(shape, side, resized, begin, tmp_path):
  image, (left, top) = picture(*shape), begin
  expected = np.asarray(image.resize(resized, Image.Resampling.BICUBIC))
  expected = expected[top : top + side, left : left + side]
  path = saved(image, tmp_path / 'a.png')
  np.testing.assert_array_equal(image_reader.load_image(path, side), expected)
  # A mask of the left half is cut at the same place.
  mask = Image.new('L', shape, 0)
  mask.paste(255, (0, 0, shape[0] // 2, shape[1]))
  bright = np.asarray(mask.resize(resized, Image.Resampling.BICUBIC)) > 127
  np.testing.assert_array_equal(
    image_reader.load_mask(saved(mask, tmp_path / 'm.png'), path, side),
    bright[top : top + side, left : left + side],
  )


def test_shrinking_is_antialiased(tmp_path):
  # Stripes of one pixel become gray, not stripes.
  stripes = np.zeros((64, 64, 3), np.uint8)
  stripes[:, ::2] = 255
  actual = image_reader.load_image(
    saved(Image.fromarray(stripes), tmp_path / 'a.png'), 16
  )
  assert 120 < actual[4:12, 4:12].min() <= actual[4:12, 4:12].max() < 136


@pytest.mark.parametrize('mode', ['L', 'RGBA', 'P', 'CMYK'])
def test_every_mode_becomes_rgb(mode, tmp_path):
  name = 'a.jpg' if mode == 'CMYK' else 'a.png'
  actual = image_reader.load_image(
    saved(picture(20, 20).convert(mode), tmp_path / name), 16
  )
  assert (actual.shape, actual.dtype) == ((16, 16, 3), np.uint8)


def broken_files():
  buffer = io.BytesIO()
  picture(64, 64).save(buffer, 'PNG')
  whole = buffer.getvalue()
  gif = io.BytesIO()
  picture(8, 8).save(gif, 'GIF')
  return {
    'empty': b'',
    'text': b'no image',
    'truncated': whole[: len(whole) // 2],
    'of another format': gif.getvalue(),
  }


@pytest.mark.parametrize('kind', sorted(broken_files()))
def test_what_is_no_whole_image_is_named(kind, tmp_path):
  path = tmp_path / 'a.png'
  path.write_bytes(broken_files()[kind])
  with pytest.raises(ValueError, match='a.png cannot be read'):
    image_reader.load_image(path, 16)


@pytest.mark.parametrize('kind', image_reader.FORMATS)
def test_a_file_that_is_cut_off_must_be_copied_again(kind, tmp_path):
  data = io.BytesIO()
  picture(64, 64).save(data, kind)
  for count in (6, 20, len(data.getvalue()) // 2):
    (tmp_path / 'a').write_bytes(data.getvalue()[:count])
    with pytest.raises(
      ValueError, match=f'(?i)a cannot be read: .*damaged {kind} file; copy it'
    ) as caught:
      image_reader.load_image(tmp_path / 'a', 16)
    assert '\n' not in str(caught.value)


def test_a_missing_image_is_named(tmp_path):
  with pytest.raises(ValueError, match='none.png cannot be read'):
    image_reader.load_image(tmp_path / 'none.png', 16)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
  monkeypatch.setattr(image_reader, 'MAX_PIXELS', 1000)
  with pytest.raises(ValueError, match='at most 1000 pixels, got 64 x 64'):
    image_reader.load_image(saved(picture(64, 64), tmp_path / 'a.png'), 16)


def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path):
  gray = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
  result = image_reader.load_image(
    saved(Image.fromarray(gray), tmp_path / 'a.png'), 16
  )
  np.testing.assert_array_equal(result, (gray >> 8)[..., None].repeat(3, -1))


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
  actual = image_reader.load_image(path, 8)
  assert (actual[:, :4] == 0).all() and (actual[:, 4:] == 255).all()


def test_photos_come_upright(tmp_path):
  exif = Image.Exif()
  exif[0x0112] = 6  # Turned by 90 degrees.
  image = Image.new('RGB', (16, 16), 'white')
  image.paste('black', (0, 0, 16, 8))
  path = saved(image, tmp_path / 'a.png', exif=exif)
  actual = image_reader.load_image(path, 16)
  assert (actual[:, 8:] == 0).all() and (actual[:, :8] == 255).all()


@pytest.mark.parametrize('kind', ['png', 'webp'])
def test_an_animated_image_is_refused(tmp_path, kind):
  frames = [Image.new('RGB', (8, 8), color) for color in ('red', 'blue')]
  path = tmp_path / f'a.{kind}'
  frames[0].save(path, save_all=True, append_images=frames[1:])
  with pytest.raises(ValueError, match='it must have a single frame, got 2'):
    image_reader.load_image(path, 8)


def test_damaged_exif_data_warn_of_nothing(tmp_path):
  """Warnings are errors in tests, and lines of noise in a terminal."""
  exif = b'Exif\0\0II*\0' + b'\xff' * 6
  path = saved(picture(40, 40), tmp_path / 'a.jpg', exif=exif)
  assert image_reader.load_image(path, 32).shape == (32, 32, 3)
  assert image_reader.image_size(path, True) == (40, 40)


def test_a_mask_is_cut_like_its_image(tmp_path):
  of = saved(picture(48, 32), tmp_path / 'a.png')
  mask = Image.new('L', (48, 32), 0)
  mask.paste(255, (8, 0, 24, 16))
  actual = image_reader.load_mask(saved(mask, tmp_path / 'm.png'), of, 32)
  expected = np.zeros((32, 32), bool)
  expected[:16, :16] = True
  np.testing.assert_array_equal(actual, expected)


def test_a_mask_of_another_size_is_refused(tmp_path):
  of = saved(picture(48, 32), tmp_path / 'a.png')
  mask = saved(picture(32, 48), tmp_path / 'm.png')
  with pytest.raises(
    ValueError, match='m.png has 32 x 48 pixels, image .*a.png 48 x 32'
  ):
    image_reader.load_mask(mask, of, 32)
