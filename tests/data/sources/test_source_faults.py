"""Faults of each form: all at once in one line, skipped where asked."""

import dataclasses
import gzip
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


def break_coco(root):
  value = json.loads((root / 'captions_val2017.json').read_text())
  value['images'][0]['file_name'] = 'none.jpg'
  value['annotations'] = [
    a for a in value['annotations'] if a['image_id'] != 25
  ]
  (root / 'captions_val2017.json').write_text(json.dumps(value))
  return ['images[0]: there is no image', 'images[1]: caption must be text']


def break_journeydb(root):
  path = root / 'train_anno.jsonl'
  lines = path.read_text().splitlines()
  lines[0] = lines[0].replace('000/', '009/')
  lines[1] = lines[1][:-9]
  path.write_text('\n'.join(lines))
  return ['line 1: there is no image', 'line 2: ']


def break_llava(root):
  rows = [data_forms.llava_record(n) for n in range(3)]
  rows[0]['conversations'].pop()
  rows[1]['image'] = '../../etc/passwd'
  (root / 'mix.json').write_text(json.dumps(rows, indent=2))
  return [
    'record 1 (line 2): conversations must end with a reply',
    "record 2 (line 20): img_path '../../etc/passwd' leaves",
  ]


def break_text_files(root):
  folder = root / 'set'
  (folder / f'{data_forms.IDS[0]}.txt').unlink()
  (folder / f'{data_forms.IDS[1]}.txt').write_bytes(b'a\xff')
  return [
    f'{data_forms.IDS[0]}.png: there is no caption file',
    f'{data_forms.IDS[1]}.png: caption must be Unicode text',
  ]


def break_csv(root):
  path = root / 'train' / 'metadata.csv'
  rows = path.read_text().replace(f'{data_forms.IDS[0]}.png', 'none.png')
  path.write_text(rows.replace(f'{data_forms.IDS[1]}.png,', ''))
  return ['line 2: there is no image', 'line 4: a row must have 3 cells, got 2']


def break_webdataset(root):
  data_forms.tar(
    root / 'shards' / '00000.tar',
    {
      'a.jpg': b'no image',
      'a.txt': b'a caption',
      'b.txt': b'a caption',
      'c.jpg': data_forms.png(0),
      'c.json': b'{"caption": NaN}',
      'd.jpg': data_forms.png(0),
    },
  )
  return [
    '00000.tar: b: a record must have an image',
    '00000.tar: c: the JSON file: NaN is not JSON',
    '00000.tar: d: caption must be text, got None',
    "00000.tar: a: id 'a': image",
  ]


BREAKS = {
  'coco': break_coco,
  'journeydb': break_journeydb,
  'llava': break_llava,
  'text files': break_text_files,
  'imagefolder csv': break_csv,
  'webdataset': break_webdataset,
}


@pytest.mark.parametrize('form', BREAKS)
def test_all_faults_are_one_line_and_may_be_skipped(form, tmp_path):
  source = data_forms.FORMS[form](tmp_path)
  faults = BREAKS[form](tmp_path)
  with pytest.raises(ValueError) as error:
    opened(source)
  for fault in faults:
    assert fault in str(error.value)
  assert '\n' not in str(error.value)
  lines = []
  rest = opened(source, lines.append, on_error='skip')
  # Broken images are reported where images are read.
  last = {'webdataset': [data_forms.IDS[2], 'a']}.get(form, [data_forms.IDS[2]])
  assert [r['id'].zfill(12) for r in rest] == [name.zfill(12) for name in last]
  assert any('left out:' in line for line in lines)


def test_text_alone_is_left_out_or_kept_for_rows_of_text(tmp_path):
  source = data_forms.llava(tmp_path)
  rows = [data_forms.llava_record(n) for n in range(3)]
  del rows[1]['image']
  (tmp_path / 'mix.json').write_text(json.dumps(rows))
  lines = []
  skipped = record_files.open_records(
    source, lines.append, needs_questions=False, text_only='skip'
  )
  assert len(skipped) == 2
  assert lines == [
    f'{source.annotations}: 1 records of text alone are left out'
  ]
  every = record_files.open_records(
    source, needs_questions=False, text_only='keep'
  )
  assert [r['path'] is None for r in every] == [False, True, False]
  assert every[1]['turns'][0] == ('Describe it.', data_forms.CAPTIONS[1])


def test_ids_that_llava_repeats_are_numbered(tmp_path):
  source = data_forms.llava(tmp_path)
  rows = [data_forms.llava_record(n, id='a/b') for n in range(3)]
  (tmp_path / 'mix.json').write_text(json.dumps(rows))
  names = [r['id'] for r in opened(source)]
  assert len(set(names)) == 3 and all(n.startswith('a_b-') for n in names)


def test_questions_of_journeydb_with_faults_are_dropped_alone(tmp_path):
  source = data_forms.journeydb(tmp_path)
  rows = [data_forms.journeydb_record(n) for n in range(3)]
  tasks = rows[0]['Task3']
  tasks['Style Relevant Questions and Answers'][0]['Answer'] = 'Z'
  del tasks['Content Relevant Questions and Answers'][0]['Options']
  del rows[1]['Task3']['Style Relevant Questions and Answers'][0]['Options']
  (tmp_path / 'train_anno.jsonl').write_text(
    ''.join(json.dumps(row) + '\n' for row in rows)
  )
  with pytest.raises(
    ValueError, match='choices must be.*answer must be one of'
  ):
    record_files.read_records(source)
  lines = []
  rest = record_files.read_records(
    dataclasses.replace(source, on_error='skip'), lines.append
  )
  assert lines[0].endswith(
    'left out: 1, e.g. line 2: choices must be different texts, got None'
  )
  assert [len(r['questions']) for r in rest] == [1, 2]


@pytest.mark.parametrize(
  'name, data, message',
  [
    (
      'a.tar.gz',
      gzip.compress(b'x', mtime=0),
      'uncompressed tar, got a gzip.*gunzip -k',
    ),
    ('a.tar', b'GIF89a' + b'x' * 600, 'must be a tar archive, got a GIF file'),
    ('a.tar', b'x' * 600, 'must be a tar archive, got another file'),
  ],
)
def test_other_archives_are_refused_with_the_way(name, data, message, tmp_path):
  (tmp_path / name).write_bytes(data)
  with pytest.raises(ValueError, match=message) as error:
    opened(record_files.Source(str(tmp_path / name)))
  assert '\n' not in str(error.value)


def test_a_cut_shard_and_missing_shards_are_named(tmp_path):
  source = data_forms.webdataset(tmp_path)
  path = tmp_path / 'shards' / '00000.tar'
  path.write_bytes(path.read_bytes()[:700])
  with pytest.raises(ValueError, match='00000.tar must be a complete tar'):
    opened(source)
  pattern = str(tmp_path / 'shards' / '{00000..00003}.tar')
  with pytest.raises(ValueError, match='00002.tar, .*00003.tar'):
    opened(record_files.Source(pattern))


@pytest.mark.parametrize('damage', ['byte', 'cut header', 'cut between'])
def test_a_shard_with_a_damaged_header_is_named(tmp_path, damage):
  """Python's tarfile takes such a header for the end of the archive."""
  source = data_forms.webdataset(tmp_path)
  path = tmp_path / 'shards' / '00000.tar'
  data = bytearray(path.read_bytes())
  # The header of the second member, behind one block of content or more.
  start = data.index(b'ustar', 512) - 257
  if damage == 'byte':
    data[start + 5] ^= 1
  else:
    data = data[: start + (100 if damage == 'cut header' else 0)]
  path.write_bytes(data)
  with pytest.raises(ValueError, match='00000.tar must be a complete tar'):
    opened(source)


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


def test_a_folder_without_captions_is_refused_with_the_forms(tmp_path):
  data_forms.images(tmp_path, ['a.png'])
  with pytest.raises(ValueError, match='got 1 images and 0 text files; write'):
    opened(record_files.Source(str(tmp_path)))
  source = data_forms.imagefolder(tmp_path)
  with pytest.raises(ValueError, match='give the folder of one split'):
    opened(record_files.Source(str(pathlib.Path(source.annotations).parent)))


def rewrite_coco(root, images, annotations):
  """Writes COCO's file with these rows, beside images 0.jpg and 1.jpg."""
  source = data_forms.coco(root)
  data_forms.images(root / 'val2017', ['0.jpg', '1.jpg'])
  pathlib.Path(source.annotations).write_text(
    json.dumps({'images': images, 'annotations': annotations})
  )
  return source


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
