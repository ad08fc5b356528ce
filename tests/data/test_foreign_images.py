"""Image files as phones, systems and mistakes leave them."""

import io

import annotation_files
import numpy as np
from PIL import Image
import pytest

from hermesflow_jax.data import image_encoding
from hermesflow_jax.data import image_listing
from hermesflow_jax.data import image_reader
from hermesflow_jax.shapes import shape_world


def picture(width=32, height=32, seed=0):
  rng = np.random.default_rng(seed)
  return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def content(form, **options):
  buffer = io.BytesIO()
  picture().save(buffer, form, **options)
  return buffer.getvalue()


def test_a_photograph_with_further_pictures_is_its_first(tmp_path):
  path = tmp_path / 'phone.jpg'
  others = {'save_all': True, 'append_images': [picture(seed=1)]}
  picture().save(path, 'MPO', quality=90, **others)
  with Image.open(path) as image:
    assert image.format == 'MPO'
  picture().save(tmp_path / 'plain.jpg', quality=90)
  np.testing.assert_array_equal(
    image_reader.load_image(path, 16),
    image_reader.load_image(tmp_path / 'plain.jpg', 16),
  )


FOREIGN = {
  'a BMP file; convert it to PNG': content('BMP'),
  'a GIF file; convert it to PNG': content('GIF'),
  'a TIFF file; convert it to PNG': content('TIFF'),
  'a HEIC file; convert it to PNG': b'\0\0\0\x18ftypheic\0\0\0\0mif1heic',
  'an AVIF file; convert it to PNG': b'\0\0\0\x1cftypavif\0\0\0\0',
  'an SVG file; convert it to PNG': b'<?xml version="1.0"?>\n<svg width="2">',
  'a PDF file; convert it to PNG': b'%PDF-1.7\n',
  'a Git LFS pointer; run `git lfs pull`': (
    b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n'
  ),
  'a web page; download the file itself': b'\n<!DOCTYPE html><html></html>',
  'a damaged PNG file; copy it again': content('PNG')[:12],
  'a damaged JPEG file; copy it again': content('JPEG')[:20],
  'an empty file; copy it again': b'',
  'another file': b'no image',
}


@pytest.mark.parametrize('kind', FOREIGN)
def test_a_file_of_another_kind_is_named(kind, tmp_path):
  path = tmp_path / 'a.png'
  path.write_bytes(FOREIGN[kind])
  with pytest.raises(ValueError) as error:
    image_reader.load_image(path, 16)
  assert str(error.value) == (
    f'image {path} cannot be read: it must be PNG, JPEG or WebP, got {kind}'
  )
  assert image_reader.header_fault(path) == str(error.value)


def test_the_crop_of_a_long_image_is_resized_alone(monkeypatch):
  # Pillow may swap its two passes, which clip the values between them.
  image = picture(20, 400).point(lambda value: 96 + value // 4)
  expected = np.asarray(image_reader.crop_square(image, 64), int)
  monkeypatch.setattr(image_reader, 'MAX_PIXELS', 64 * 64)
  actual = np.asarray(image_reader.crop_square(image, 64), int)
  # Borders lack two pixels of the image behind the crop, of 3.2 pixels each.
  assert np.abs(actual - expected)[7:-7].max() <= 2


@pytest.mark.parametrize('size', [(1, 20_000), (20_000, 1)])
def test_no_shape_needs_gigabytes(size, monkeypatch):
  largest = []
  resize = Image.Image.resize

  def measured(self, size, *args):
    largest.append(size[0] * size[1])
    return resize(self, size, *args)

  monkeypatch.setattr(Image.Image, 'resize', measured)
  image = image_reader.crop_square(Image.new('RGB', size, 'red'), 256)
  assert np.asarray(image).shape == (256, 256, 3)
  assert max(largest) <= image_reader.MAX_PIXELS


def test_all_broken_images_are_reported_at_once(tmp_path):
  rows = [annotation_files.line(n) for n in range(4)]
  source = annotation_files.written(tmp_path, [*rows[:3], '{', rows[3]])
  (tmp_path / 'scene-0.png').write_bytes(b'no image')
  (tmp_path / 'scene-2.png').write_bytes(content('GIF'))
  with pytest.raises(ValueError) as error:
    image_encoding.load_encoded(
      source,
      shape_world.SIZE,
      annotation_files.Encoder(),
      tmp_path / 'cache',
      'a',
    )
  for place in ('line 4: ', "line 1: id 'scene-0'", "line 3: id 'scene-2'"):
    assert place in str(error.value)


def test_all_truncated_images_are_reported_at_once(tmp_path):
  rows = [annotation_files.line(n) for n in range(4)]
  source = annotation_files.written(tmp_path, rows)
  for name in ('scene-1.png', 'scene-3.png'):
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
  encoder = annotation_files.Encoder()
  with pytest.raises(ValueError, match='scene-1.png .*; .*scene-3.png '):
    image_encoding.load_encoded(
      source, shape_world.SIZE, encoder, tmp_path / 'cache', 'a'
    )


@pytest.fixture
def folder(tmp_path):
  """A folder as archives and systems leave it, with two images."""
  names = 'a.png b.JPG ._a.png .hidden.png Thumbs.db notes.txt p.heic q.heic'
  for name in names.split():
    (tmp_path / name).write_bytes(b'')
  for name in ('.ipynb_checkpoints/a.png', '__MACOSX/._a.png', '.git/x.png'):
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_bytes(b'')
  return tmp_path


@pytest.mark.parametrize('pattern', ['', '/**/*', '/*.[pJ]*G', '/[ab].*'])
def test_hidden_files_are_no_images(folder, pattern):
  names = image_listing.list_images([f'{folder}{pattern}'])
  # A pattern may name other files, too.
  assert not any('/.' in n or 'MACOSX' in n or 'Thumbs' in n for n in names)


def test_images_may_lie_in_the_home_folder(folder, monkeypatch):
  monkeypatch.setenv('HOME', str(folder.parent))
  names = image_listing.list_images(
    [f'~/{folder.name}', f'~/{folder.name}/a.*']
  )
  assert names == image_listing.list_images([str(folder)])


def test_hidden_files_of_a_bucket_are_no_images(folder, bucket):
  bucket.put_folder('in', folder)
  expected = ['gs://bucket/in/a.png', 'gs://bucket/in/b.JPG']
  assert image_listing.list_images(['gs://bucket/in']) == expected
  actual = image_listing.list_images(['gs://bucket/in/**/*.png'])
  assert actual == expected[:1]


def test_a_hidden_file_may_be_named(folder):
  for name in (f'{folder}/.hidden.png', f'{folder}/.hid*'):
    assert image_listing.list_images([name]) == [f'{folder}/.hidden.png']


def test_a_hidden_folder_may_be_named(folder):
  for name in (f'{folder}/.git', f'{folder}/.git/*.png'):
    assert image_listing.list_images([name]) == [f'{folder}/.git/x.png']


def test_files_passed_over_are_counted(folder):
  lines = []
  assert image_listing.list_images([str(folder)], lines.append) == [
    f'{folder}/a.png',
    f'{folder}/b.JPG',
  ]
  counts = '3 files (2 .heic, 1 .txt) passed over'
  assert lines == [
    f'{folder}: {counts}; images are .png, .jpg, .jpeg and .webp'
  ]


def test_links_to_folders_passed_over_are_counted(folder, tmp_path):
  (tmp_path / 'images').mkdir()
  (tmp_path / 'images' / 'more').symlink_to(folder)
  (tmp_path / 'images' / 'gone').symlink_to(tmp_path / 'nowhere')
  (tmp_path / 'images' / 'a.png').symlink_to(folder / 'a.png')
  lines = []
  pattern = str(tmp_path / 'images')
  names = image_listing.list_images([pattern], lines.append)
  assert names == [f'{pattern}/a.png']
  (line,) = lines
  expected = (
    'images: 2 links to folders or nowhere passed over, e.g. gone; give'
  )
  assert expected in line


def test_a_folder_of_other_images_says_so(tmp_path):
  (tmp_path / 'a.tiff').write_bytes(b'')
  with pytest.raises(ValueError) as error:
    image_listing.list_images([str(tmp_path), '/none.png'])
  assert f'got {tmp_path}, which has 1 file (1 .tiff); /none.png; give' in str(
    error.value
  )
