"""Images of shards are encoded, cached and hashed as image files are."""

import dataclasses
import os
import pathlib

import annotation_files
import data_forms
import numpy as np
import pytest

from hermesflow_jax.data import image_encoding
from hermesflow_jax.data import image_folder
from hermesflow_jax.data import record_files
from hermesflow_jax.data.sources import webdataset
from hermesflow_jax.runtime import disk_objects


@pytest.fixture
def sources(tmp_path):
  """The same records as files and in shards."""
  files, shards = tmp_path / 'files', tmp_path / 'tar'
  files.mkdir()
  shards.mkdir()
  official = data_forms.official(files)
  webdataset = data_forms.webdataset(shards)
  return official, dataclasses.replace(webdataset, questions=official.questions)


def encode(source, encoder, cache):
  return image_encoding.load_encoded(source, 8, encoder, cache, 'tokenizer')


def test_codes_of_shards_are_those_of_files(sources, tmp_path):
  expected, actual = (
    encode(source, annotation_files.Encoder(), tmp_path / str(n))
    for n, source in enumerate(sources)
  )
  for a, b in zip(expected, actual, strict=True):
    assert (a['id'], a['caption']) == (b['id'], b['caption'])
    np.testing.assert_array_equal(a['codes'], b['codes'])


def test_codes_are_kept_until_a_shard_changes(sources, tmp_path):
  _, source = sources
  encoder = annotation_files.Encoder()
  for _ in range(2):
    encode(source, encoder, tmp_path)
  assert encoder.calls == 1
  shard = next(pathlib.Path(source.annotations).parent.glob('*.tar'))
  os.utime(shard, (1, 1))
  encode(source, encoder, tmp_path)
  assert encoder.calls == 2


def test_hashes_change_with_texts_and_with_images(sources):
  _, source = sources
  shard = pathlib.Path(source.annotations).parent / '00001.tar'

  def hashes():
    examples = record_files.open_records(source)
    paths = [example['path'] for example in examples]
    texts = record_files.file_hashes(source)[source.annotations]
    return texts, image_folder.content_hash(paths)

  before = hashes()
  name = data_forms.IDS[2]
  files = {f'{name}.jpg': data_forms.png(2), f'{name}.txt': b'other'}
  data_forms.tar(shard, files)
  text_changed = hashes()
  assert text_changed[0] != before[0] and text_changed[1] == before[1]
  data_forms.tar(shard, files | {f'{name}.jpg': data_forms.png(1)})
  image_changed = hashes()
  assert image_changed[0] == text_changed[0]
  assert image_changed[1] != text_changed[1]


def test_records_of_many_shards_are_read_anew_for_their_images_alone(
  sources, tmp_path, monkeypatch
):
  """Texts of many records are in a file, images stay in the shards."""
  _, source = sources
  expected = image_encoding.load_encoded(
    source, 8, annotation_files.Encoder(), tmp_path, 'a', pixel_size=8
  )
  monkeypatch.setattr(disk_objects, 'MOST', 1)
  actual = image_encoding.load_encoded(
    source, 8, annotation_files.Encoder(), tmp_path, 'a', pixel_size=8
  )
  read, numbers = webdataset.WebdatasetRows.read, []
  monkeypatch.setattr(
    webdataset.WebdatasetRows,
    'read',
    lambda rows, number: numbers.append(number) or read(rows, number),
  )
  for a, b in zip(actual, expected, strict=True):
    assert (a['id'], a['caption']) == (b['id'], b['caption'])
    np.testing.assert_array_equal(a['codes'], b['codes'])
  assert not numbers
  np.testing.assert_array_equal(actual[1]['pixels'](), expected[1]['pixels']())
  assert len(numbers) == 1
