"""A TFDS dataset by name, by folder, and by a map of its features."""

import dataclasses
import io

import data_forms
import numpy as np
from PIL import Image
import pytest
import tfds_captions

from hermesflow_jax.data import image_reader
from hermesflow_jax.data import record_files


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  return tfds_captions.write(tmp_path_factory.mktemp('tfds'))


def opened(source, **changes):
  return record_files.open_records(
    dataclasses.replace(source, **changes), needs_questions=False, opened=None
  )


def by_id(examples):
  return {example['id']: example for example in examples}


def test_a_dataset_by_name_has_images_and_captions(dataset):
  examples = by_id(opened(dataset))
  assert set(examples) == {'9', '25', '30'}
  for number, name in enumerate(data_forms.IDS):
    example = examples[str(int(name))]
    assert example['caption'] == data_forms.CAPTIONS[number]
    expected = Image.open(io.BytesIO(data_forms.png(number)))
    np.testing.assert_array_equal(
      image_reader.load_image(example['path'], 8),
      np.asarray(image_reader.crop_square(expected, 8)),
    )


def test_a_dataset_may_be_its_folder(dataset):
  folder = f'{dataset.images}/small_captions/1.0.0'
  captions = [
    [(example['id'], example['caption']) for example in opened(source)]
    for source in (record_files.Source(folder), dataset)
  ]
  assert captions[0] == captions[1]


def test_features_are_named_by_a_setting(dataset):
  fields = 'image=image,caption=captions/text,id=captions/id'
  examples = opened(dataset, fields=fields.rpartition(',')[0])
  assert by_id(examples) == by_id(opened(dataset))
  longest = by_id(opened(dataset, caption_choice='longest'))
  assert longest['9']['caption'] == 'a red ring, a second text'


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'annotations': 'tfds:no_such_captions'}, 'got tfds:no_such_captions: '),
    ({'annotations': 'tfds:small_captions@test'}, 'splits: val'),
    ({'fields': 'caption=text'}, 'the features are image, image/id, captions'),
    ({'caption_choice': 'all'}, "'first' or 'longest' for a TFDS dataset"),
    ({'fields': 'caption=image/a/b'}, 'got none for caption=image/a/b; the'),
    ({'fields': 'caption=captions/text/a'}, 'got none for caption=captions/t'),
    (
      {'fields': 'image=image/id'},
      'the feature image/id must be an image, got int; name the image',
    ),
    ({'fields': 'image=captions/id'}, 'the feature captions/id must be an im'),
    ({'fields': 'image=captions'}, 'the feature captions must be an image'),
    ({'fields': 'caption=captions/id'}, 'caption must be text, got 0'),
    ({'fields': 'caption=captions'}, 'caption must be text, got '),
    ({'fields': 'caption=image'}, 'caption must be Unicode text, got '),
  ],
)
def test_mistakes_are_one_line_with_what_to_write(dataset, changes, message):
  with pytest.raises(ValueError) as error:
    opened(dataset, **changes)
  assert '\n' not in str(error.value) and message in str(error.value)


def test_a_damaged_record_is_a_fault_of_its_own(dataset, monkeypatch):
  source = record_files.open_rows(dataset)

  class Damaged(list):
    def __getitem__(self, number):
      if number == 1:
        raise RuntimeError('DATA_LOSS\nof a chunk')
      return super().__getitem__(number)

  monkeypatch.setattr(source, '_source', Damaged(list(source._source)))
  fault = source.read(1)
  assert isinstance(fault, ValueError) and '\n' not in str(fault)
  assert 'a record must be readable, got damage (DATA_LOSS)' in str(fault)
  assert source.read(0)['caption'] in data_forms.CAPTIONS


def test_a_folder_on_the_way_may_have_an_at_sign(dataset, tmp_path):
  folder = tmp_path / 'a@b'
  folder.symlink_to(
    f'{dataset.images}/small_captions', target_is_directory=True
  )
  for name in (f'{folder}/1.0.0', f'{folder}/1.0.0@val'):
    assert len(opened(record_files.Source(name))) == 3
