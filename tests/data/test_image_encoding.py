"""Codes belong to the images of records, and are encoded once."""

import dataclasses

import annotation_files
import numpy as np
from PIL import Image
import pytest

from hermesflow_jax.data import image_encoding
from hermesflow_jax.data import image_reader
from hermesflow_jax.data import record_files
from hermesflow_jax.runtime import storage
from hermesflow_jax.shapes import drawing
from hermesflow_jax.shapes import scene_sampler
from hermesflow_jax.shapes import shape_world


def test_codes_are_of_the_images_and_made_once(tmp_path, monkeypatch):
  monkeypatch.setattr(image_encoding, 'CHUNK', 2)
  source = annotation_files.written(
    tmp_path, [annotation_files.line(n) for n in range(5)]
  )
  encoder, cache = annotation_files.Encoder(), tmp_path / 'cache'
  first = image_encoding.load_encoded(
    source, shape_world.SIZE, encoder, cache, 'a'
  )
  assert encoder.calls == 3
  expected = [
    drawing.render(scene_sampler.sample_scene('eval', 0, n)).sum()
    for n in range(5)
  ]
  np.testing.assert_array_equal([r['codes'][0] for r in first], expected)
  again = image_encoding.load_encoded(
    source, shape_world.SIZE, encoder, cache, 'a'
  )
  assert encoder.calls == 3
  np.testing.assert_array_equal(
    [r['codes'] for r in again], [r['codes'] for r in first]
  )


def test_another_image_or_tokenizer_is_encoded_anew(tmp_path):
  source = annotation_files.written(tmp_path, [annotation_files.line(0)])
  encoder, cache = annotation_files.Encoder(), tmp_path / 'cache'
  image_encoding.load_encoded(source, shape_world.SIZE, encoder, cache, 'a')
  image_encoding.load_encoded(source, shape_world.SIZE, encoder, cache, 'b')
  assert encoder.calls == 2
  white = np.full((64, 64, 3), 255, np.uint8)
  Image.fromarray(white).save(tmp_path / 'scene-0.png')
  actual = image_encoding.load_encoded(
    source, shape_world.SIZE, encoder, cache, 'a'
  )
  assert actual[0]['codes'][0] == white.sum()


def test_codes_of_pixels_that_were_prepared_otherwise_are_not_reused(
  tmp_path, monkeypatch
):
  source = annotation_files.written(tmp_path, [annotation_files.line(0)])
  encoder, cache = annotation_files.Encoder(), tmp_path / 'cache'
  image_encoding.load_encoded(source, shape_world.SIZE, encoder, cache, 'a')
  monkeypatch.setattr(image_reader, 'VERSION', image_reader.VERSION + 1)
  image_encoding.load_encoded(source, shape_world.SIZE, encoder, cache, 'a')
  assert encoder.calls == 2


def test_images_that_cannot_be_read_are_skipped_where_asked(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(image_encoding, 'CHUNK', 1)
  source = annotation_files.skipping(
    tmp_path, [annotation_files.line(n) for n in range(3)]
  )
  (tmp_path / 'scene-1.png').write_bytes(b'no picture')
  encoder, cache = annotation_files.Encoder(), tmp_path / 'cache'
  for _ in range(2):  # The second time from the cache.
    output = []
    actual = image_encoding.load_encoded(
      source, shape_world.SIZE, encoder, cache, 'a', output.append
    )
    assert [r['id'] for r in actual] == ['scene-0', 'scene-2']
    assert [r['position'] for r in actual] == [0, 2]
    for row, n in zip(actual, (0, 2)):
      assert (
        row['codes']
        == drawing.render(scene_sampler.sample_scene('eval', 0, n)).sum()
      )
    assert output[0].endswith(': 1 of 3 left out:') and len(output) == 2
    assert output[1].startswith("  id 'scene-1': ")
  next(cache.iterdir()).write_bytes(b'PK torn')
  again = image_encoding.load_encoded(
    source, shape_world.SIZE, encoder, cache, 'a'
  )
  assert [r['id'] for r in again] == ['scene-0', 'scene-2']
  raising = dataclasses.replace(source, on_error='raise')
  with pytest.raises(ValueError, match='scene-1.png cannot be read'):
    image_encoding.load_encoded(
      raising, shape_world.SIZE, encoder, tmp_path / 'other', 'a'
    )
  for n in (0, 2):
    (tmp_path / f'scene-{n}.png').write_bytes(b'no picture')
  with pytest.raises(ValueError, match='scene-0'):
    image_encoding.load_encoded(source, shape_world.SIZE, encoder, cache, 'a')


def test_an_image_that_can_be_read_again_is_taken_again(tmp_path, monkeypatch):
  source, load = (
    annotation_files.skipping(
      tmp_path, [annotation_files.line(0), annotation_files.line(1)]
    ),
    image_reader.load_image,
  )
  cache = tmp_path / 'cache'

  def fails(path, size):
    if path.name == 'scene-1.png':
      raise ValueError('the disk does not answer')
    return load(path, size)

  monkeypatch.setattr(image_reader, 'load_image', fails)
  assert (
    len(
      image_encoding.load_encoded(
        source, shape_world.SIZE, annotation_files.Encoder(), cache, 'a'
      )
    )
    == 1
  )
  monkeypatch.setattr(image_reader, 'load_image', load)
  actual = image_encoding.load_encoded(
    source, shape_world.SIZE, annotation_files.Encoder(), cache, 'a'
  )
  assert [r['id'] for r in actual] == ['scene-0', 'scene-1']


def test_no_more_is_encoded_than_wanted(tmp_path):
  source = annotation_files.written(
    tmp_path, [annotation_files.line(n) for n in range(4)]
  )
  (tmp_path / 'scene-3.png').write_bytes(b'no picture')
  actual = image_encoding.load_encoded(
    source,
    shape_world.SIZE,
    annotation_files.Encoder(),
    tmp_path / 'cache',
    'a',
    most=2,
  )
  assert [r['id'] for r in actual] == ['scene-0', 'scene-1']


def test_a_bucket_has_the_records_of_a_folder(bucket, tmp_path):
  local = annotation_files.written(
    tmp_path, [annotation_files.line(n) for n in range(3)]
  )
  source, encoder = (
    annotation_files.carried(bucket, tmp_path, local),
    annotation_files.Encoder(),
  )
  cache = storage.path('gs://bucket/run/data')
  expected = image_encoding.load_encoded(
    local, shape_world.SIZE, annotation_files.Encoder(), tmp_path / 'cache', 'a'
  )
  for _ in range(2):
    actual = image_encoding.load_encoded(
      source, shape_world.SIZE, encoder, cache, 'a'
    )
    assert [r['id'] for r in actual] == [r['id'] for r in expected]
    for a, b in zip(actual, expected):
      np.testing.assert_array_equal(a['codes'], b['codes'])
  assert encoder.calls == 1
  # Another image under the same name is no image of before.
  bucket.put('data/scene-0.png', bucket.blobs['data/scene-1.png'].data)
  image_encoding.load_encoded(source, shape_world.SIZE, encoder, cache, 'a')
  assert encoder.calls == 2
  assert list(record_files.file_hashes(source).values()) == list(
    record_files.file_hashes(local).values()
  )


def test_an_image_of_a_bucket_that_is_none_is_named(bucket, tmp_path):
  source = annotation_files.carried(
    bucket,
    tmp_path,
    annotation_files.written(tmp_path, [annotation_files.line(0)]),
  )
  bucket.put('data/scene-0.png', b'no picture')
  with pytest.raises(
    ValueError, match='image gs://bucket/data/scene-0.png cannot be read'
  ):
    image_encoding.load_encoded(
      source,
      shape_world.SIZE,
      annotation_files.Encoder(),
      tmp_path / 'cache',
      'a',
    )
