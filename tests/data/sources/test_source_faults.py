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


@pytest.mark.parametrize(
  'text, fault',
  [
    ('a \ud83d?', r'conversations\[2\] must be Unicode text, got .* half a ch'),
    ('a' * (2**20 + 1), r'conversations\[2\] must have at most 1048576 charac'),
  ],
)
def test_turns_that_no_tokenizer_can_read_are_faults(tmp_path, text, fault):
  source = data_forms.llava(tmp_path)
  rows = [data_forms.llava_record(n) for n in range(3)]
  rows[1]['conversations'][2]['value'] = text
  (tmp_path / 'mix.json').write_text(json.dumps(rows))
  with pytest.raises(ValueError, match=f'record 2 .*{fault}'):
    opened(source)
  assert len(opened(source, on_error='skip')) == 2


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


def test_caption_files_may_have_capital_suffixes(tmp_path):
  data_forms.images(tmp_path, ['a.png', 'b.JPG', 'c.png', 'sub/d.png'])
  for name in ('a.TXT', 'b.txt', 'b.TXT', 'sub/d.Txt', 'lost.TXT', 'no.txt'):
    (tmp_path / name).write_text(name)
  lines, source = [], record_files.Source(str(tmp_path))
  captions = [
    r['caption'] for r in opened(source, lines.append, on_error='skip')
  ]
  assert sorted(captions) == ['a.TXT', 'sub/d.Txt']
  assert 'left out: 2, e.g. lost.TXT' in lines[0]
  assert '2 of 4 left out' in lines[1]
  assert lines[2:] == [
    '  b.JPG: there must be a single caption file, got b.TXT, b.txt',
    f'  c.png: there is no caption file {tmp_path}/c.txt',
  ]


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


def test_a_folder_without_captions_is_refused_with_the_forms(tmp_path):
  data_forms.images(tmp_path, ['a.png'])
  with pytest.raises(ValueError, match='got 1 image and 0 text files; write'):
    opened(record_files.Source(str(tmp_path)))
  source = data_forms.imagefolder(tmp_path)
  with pytest.raises(ValueError, match='give the folder of one split'):
    opened(record_files.Source(str(pathlib.Path(source.annotations).parent)))
