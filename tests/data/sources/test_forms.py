"""Each form is recognized and read: ids, captions, images, questions, turns."""

import dataclasses
import io

import data_forms
import numpy as np
from PIL import Image
import pytest

from hermesflow_jax.data import image_reader
from hermesflow_jax.data import pipeline
from hermesflow_jax.data import record_files
from hermesflow_jax.data.sources import forms

WITH_QUESTIONS = ('records', 'official', 'journeydb')


def opened(source, **options):
  options = {'needs_questions': False} | options
  return record_files.open_records(source, **options)


def pixels(number):
  image = Image.open(io.BytesIO(data_forms.png(number)))
  return np.asarray(image_reader.crop_square(image.convert('RGB'), 8))


@pytest.mark.parametrize('form', data_forms.FORMS)
def test_every_form_has_the_same_examples(form, tmp_path):
  examples = opened(data_forms.FORMS[form](tmp_path), opened=None)
  assert len(examples) == 3
  # COCO's ids are numbers.
  by_id = {example['id'].zfill(12): example for example in examples}
  for number, name in enumerate(data_forms.IDS):
    example = by_id[name]
    assert example['caption'] == data_forms.CAPTIONS[number]
    np.testing.assert_array_equal(
      image_reader.load_image(example['path'], 8), pixels(number)
    )


@pytest.mark.parametrize('form', data_forms.FORMS)
def test_every_form_is_recognized_and_may_be_named(form, tmp_path):
  source = data_forms.FORMS[form](tmp_path)
  name = record_files.open_rows(source).form
  assert name in forms.FORMS
  named = dataclasses.replace(source, form=name)
  assert list(opened(named)) == list(opened(source))


@pytest.mark.parametrize('form', data_forms.FORMS)
def test_grain_reads_every_form_at_random(form, tmp_path):
  examples = opened(data_forms.FORMS[form](tmp_path))

  def transform(example, generator):
    del generator
    return {
      'pixels': image_reader.load_image(example['path'], 8),
      'length': len(example['caption']),
    }

  batches = pipeline.host_batches(
    examples,
    transform,
    seed=0,
    batch=3,
    start=0,
    process=0,
    processes=1,
    threads=2,
  )
  batch = next(batches)
  assert batch['pixels'].shape == (3, 8, 8, 3)
  assert sorted(batch['length']) == sorted(map(len, data_forms.CAPTIONS))


@pytest.mark.parametrize('form', data_forms.FORMS)
def test_what_has_no_questions_is_refused_in_one_line(form, tmp_path):
  source = data_forms.FORMS[form](tmp_path)
  if form in WITH_QUESTIONS:
    assert all(r['questions'] for r in record_files.read_records(source))
    return
  with pytest.raises(ValueError, match='must have questions.*none in 3 ') as e:
    record_files.read_records(source)
  assert 'configs/understand.py' in str(e.value) and '\n' not in str(e.value)


def test_a_file_of_questions_is_joined_by_id(tmp_path):
  source = data_forms.webdataset(tmp_path)
  data_forms.official(tmp_path)
  source = dataclasses.replace(
    source, questions=str(tmp_path / 'vqa_data.json')
  )
  actual = record_files.read_records(source)
  assert [r['questions'][0]['answer'] for r in actual] == [
    'a ring',
    'a square',
    'a disk',
  ]


def test_journeydb_has_prompts_and_questions_of_two_types(tmp_path):
  actual = record_files.read_records(data_forms.journeydb(tmp_path))
  assert [r['prompt'] for r in actual] == [
    f'{caption} --ar 2:3 --v 4' for caption in data_forms.CAPTIONS
  ]
  for number, record in enumerate(actual):
    content, style = record['questions']
    assert content['element_type'] == 'content'
    assert content['answer'] == ['ring', 'square', 'disk'][number]
    assert content['choices'] == ['ring', 'square', 'disk', 'star']
    assert (style['element_type'], style['answer']) == ('style', 'flat')


def test_the_caption_may_be_another_field(tmp_path):
  source = data_forms.journeydb(tmp_path)
  source = dataclasses.replace(source, fields='caption=prompt')
  assert [r['caption'] for r in opened(source)] == [
    f'{caption} --ar 2:3 --v 4' for caption in data_forms.CAPTIONS
  ]
  source = dataclasses.replace(source, fields='caption=Task2/Caption')
  assert [r['caption'] for r in opened(source)] == data_forms.CAPTIONS


def test_which_of_several_captions_is_taken_is_a_setting(tmp_path):
  source = data_forms.coco(tmp_path)
  longest = opened(dataclasses.replace(source, caption_choice='longest'))
  assert {r['caption'] for r in longest} == {
    f'{caption}, a second text' for caption in data_forms.CAPTIONS
  }
  every = opened(dataclasses.replace(source, caption_choice='all'))
  assert [(r['id'], r['caption']) for r in every[:2]] == [
    ('25-0', data_forms.CAPTIONS[1]),
    ('25-1', f'{data_forms.CAPTIONS[1]}, a second text'),
  ]


def test_llava_has_the_turns_of_its_conversations(tmp_path):
  for example, caption in zip(
    opened(data_forms.llava(tmp_path)), data_forms.CAPTIONS
  ):
    assert example['turns'] == [('Describe it.', caption), ('Is it red?', 'No')]


@pytest.mark.parametrize('name', ['journeydb', 'coco', 'webdataset', 'tfds'])
def test_another_form_than_the_named_is_an_error_of_one_line(name, tmp_path):
  source = data_forms.records(tmp_path)
  with pytest.raises(ValueError) as error:
    opened(dataclasses.replace(source, form=name))
  assert '\n' not in str(error.value) and 'inputs.jsonl' in str(error.value)


@pytest.mark.parametrize(
  'fields', ['caption', 'caption=', '=text', 'picture=a', 'caption:text']
)
def test_fields_of_another_form_are_refused(fields):
  with pytest.raises(ValueError, match='fields must be pairs of id, image'):
    record_files.Source('a', fields=fields)


@pytest.mark.parametrize(
  'form', ['records', 'webdataset', 'text files', 'coco']
)
def test_a_data_set_may_lie_in_a_bucket(form, tmp_path, bucket):
  source = data_forms.FORMS[form](tmp_path)
  bucket.put_folder('data', tmp_path)
  carried = dataclasses.replace(
    source,
    **{
      name: getattr(source, name).replace(str(tmp_path), 'gs://bucket/data')
      for name in ('annotations', 'images')
    },
  )
  local, remote = opened(source), opened(carried)
  assert [(r['id'], r['caption']) for r in remote] == [
    (r['id'], r['caption']) for r in local
  ]
  for a, b in zip(local, remote):
    np.testing.assert_array_equal(
      image_reader.load_image(a['path'], 8),
      image_reader.load_image(b['path'], 8),
    )
  hashes = [
    list(record_files.file_hashes(s).values()) for s in (source, carried)
  ]
  assert hashes[0] == hashes[1]
