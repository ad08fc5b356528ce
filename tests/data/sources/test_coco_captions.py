"""Faults of COCO captions, and where their images lie."""

import dataclasses
import json
import pathlib

import data_forms
import pytest

from hermesflow_jax.data import record_files


def opened(source, say=lambda line: None, **changes):
  return record_files.open_records(
    dataclasses.replace(source, **changes),
    say,
    needs_questions=False,
    opened=None,
  )


def rewrite_coco(root, images, annotations):
  """Writes COCO's file with these rows, beside images 0.jpg and 1.jpg."""
  source = data_forms.coco(root)
  data_forms.images(root / 'val2017', ['0.jpg', '1.jpg'])
  pathlib.Path(source.annotations).write_text(
    json.dumps({'images': images, 'annotations': annotations})
  )
  return source


def test_images_of_coco_lie_beside_the_annotations(tmp_path, monkeypatch):
  source = rewrite_coco(
    tmp_path / 'a',
    [{'id': 0, 'file_name': '0.jpg'}],
    [{'image_id': 0, 'id': 0, 'caption': 'a ring'}],
  )
  annotations = pathlib.Path(source.annotations)
  data_forms.images(annotations.parent, ['0.jpg'])
  data_forms.images(tmp_path, ['0.jpg'])
  monkeypatch.chdir(tmp_path)
  (record,) = opened(record_files.Source(str(annotations)))
  assert record['path'] == annotations.parent / '0.jpg'


@pytest.mark.parametrize(
  'images, annotations',
  [
    ([], []),
    ([{'id': 0, 'file_name': '0.jpg'}], []),
    (
      [{'id': 0, 'file_name': '0.jpg'}],
      [{'id': 1, 'image_id': 0, 'bbox': [0, 0, 1, 1], 'category_id': 3}],
    ),
  ],
)
def test_coco_without_captions_names_the_file_to_give(
  images, annotations, tmp_path
):
  source = rewrite_coco(tmp_path, images, annotations)
  for policy in ('raise', 'skip'):
    with pytest.raises(ValueError, match=r'got none; give captions_\*.json'):
      opened(source, on_error=policy)


def test_faulty_rows_of_coco_do_not_hide_that_questions_are_missing(tmp_path):
  source = rewrite_coco(
    tmp_path,
    [{'id': n, 'file_name': f'{n}.jpg'} for n in range(2)],
    [{'image_id': n, 'id': n, 'caption': 'a'} for n in range(3)],
  )
  with pytest.raises(ValueError, match='got none in 2 records; give a file'):
    record_files.read_records(source)


def test_another_form_than_coco_is_not_called_damaged(tmp_path):
  source = dataclasses.replace(data_forms.records(tmp_path), form='coco')
  with pytest.raises(
    ValueError, match='got another form .*leave form=coco out'
  ):
    opened(source)
  source = data_forms.coco(tmp_path)
  path = pathlib.Path(source.annotations)
  path.write_text(path.read_text()[:-9])
  with pytest.raises(ValueError, match='got a damaged file .*copy it again'):
    opened(dataclasses.replace(source, form='coco'))


@pytest.mark.parametrize('choice', ['first', 'longest', 'all'])
def test_every_faulty_row_of_coco_is_named_and_may_be_skipped(choice, tmp_path):
  source = rewrite_coco(
    tmp_path,
    [
      {'id': 0, 'file_name': '0.jpg'},
      {'file_name': '1.jpg'},
      {'id': '1', 'file_name': '1.jpg'},
      {'id': 2},
      {'id': 0, 'file_name': '1.jpg'},
      'text',
    ],
    [
      {'image_id': 0, 'id': 1, 'caption': 'a'},
      {'id': 3, 'caption': 'b'},
      {'image_id': '0', 'id': 4, 'caption': 'b'},
      {'image_id': 0, 'id': 5, 'caption': None},
      {'image_id': 7, 'id': 6, 'caption': 'b'},
      {'image_id': 2, 'id': 7, 'caption': 'b'},
    ],
  )
  source = dataclasses.replace(source, caption_choice=choice)
  faults = [
    'images[1]: id must be an integer, got None',
    'images[2]: id must be an integer, got ',
    'images[3]: img_path must be text, got None',
    'images[4]: duplicate id ',
    'images[5]: a row must be a JSON object, got ',
    'annotations[1]: image_id must be an integer, got None',
    'annotations[2]: image_id must be an integer, got ',
    'annotations[4]: image_id must be the id of an image in the file, got 7',
    'caption must be text, got None',
  ]
  lines = []
  (record,) = opened(source, lines.append, on_error='skip')
  assert record['caption'] == 'a'
  for fault in faults:
    assert any(fault in line for line in lines), fault
  with pytest.raises(ValueError, match=r'images\[1\]: id must.*image_id must'):
    opened(source)


@pytest.mark.parametrize('choice', ['first', 'longest', 'all'])
def test_an_image_without_a_caption_is_a_fault(choice, tmp_path):
  source = rewrite_coco(
    tmp_path,
    [{'id': n, 'file_name': f'{n}.jpg'} for n in range(2)],
    [{'image_id': 1, 'id': 1, 'caption': 'a'}],
  )
  source = dataclasses.replace(source, caption_choice=choice)
  with pytest.raises(ValueError, match=r'images\[0\]: caption must be text'):
    opened(source)
  lines = []
  assert len(opened(source, lines.append, on_error='skip')) == 1
  assert '1 of 2 left out' in lines[0]


def test_a_caption_that_is_repeated_is_no_example_of_its_own(tmp_path):
  """Only the same row again: annotators may write the same caption."""
  rows = [
    {'image_id': 0, 'id': 1, 'caption': 'a'},
    {'image_id': 0, 'id': 2, 'caption': 'a'},
    {'image_id': 0, 'id': 1, 'caption': 'a'},
    {'image_id': 0, 'id': 1, 'caption': 'b'},
    {'image_id': 0, 'caption': 'c'},
    {'image_id': 0, 'caption': 'c'},
  ]
  source = rewrite_coco(tmp_path, [{'id': 0, 'file_name': '0.jpg'}], rows)
  assert opened(source)[0]['caption'] == 'a'
  source = dataclasses.replace(source, caption_choice='all')
  fault = r'annotations\[2\] must be a new caption, got annotations\[0\] again'
  with pytest.raises(ValueError, match=fault):
    opened(source)
  captions = [example['caption'] for example in opened(source, on_error='skip')]
  assert sorted(captions) == list('aabcc')
