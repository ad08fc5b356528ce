"""Files that no record can have are named, not passed over in silence."""

import concurrent.futures
import json
import os
import sys

import data_forms

from hermesflow_jax.data import record_files
from hermesflow_jax.data.sources import folder_rows
from hermesflow_jax.data.sources import shard_names
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_objects


def read(path):
  """Returns (ids, lines about files that are passed over)."""
  lines = []
  records = record_files.open_records(
    record_files.Source(str(path), on_error='skip'),
    lines.append,
    needs_questions=False,
  )
  parts = ('passed over', 'left out', 'count again')
  lines = [line for line in lines if any(part in line for part in parts)]
  return [r['id'] for r in records], lines


def test_members_of_no_record_are_named(tmp_path):
  image = data_forms.png(0)
  names = ('a.jpg', 'a.txt', 'a.JPG', 'b.1.jpg', 'b.1.txt', 'c.tiff')
  data_forms.tar(
    tmp_path / '0.tar', {n: image for n in names} | {'a.txt': b'x'}
  )
  ids, (line,) = read(tmp_path / '0.tar')
  assert ids == ['a']
  assert line.endswith(': 4, e.g. 0.tar/a.JPG, 0.tar/b.1.jpg, 0.tar/b.1.txt')


def test_compressed_shards_of_a_folder_are_named(tmp_path):
  files = {'a.jpg': data_forms.png(0), 'a.txt': b'x'}
  data_forms.tar(tmp_path / 'my.test.tar', files)
  other = {name.replace('a', 'b'): data for name, data in files.items()}
  data_forms.tar(tmp_path / 'B.TAR', other)
  for name in ('my.test.tar.gz', 'c.tar.gz', 'd.tgz', 'e.txt'):
    (tmp_path / name).write_bytes(b'x')
  ids, (line,) = read(tmp_path)
  assert ids == ['a', 'b'] and line.endswith(': 2, e.g. c.tar.gz, d.tgz')
  assert shard_names.compressed(f'{tmp_path}/*.tar') == []


def test_links_to_folders_and_to_nothing_are_named(tmp_path):
  for folder in ('set', 'other'):
    data_forms.images(tmp_path / folder, ['a.png'])
    (tmp_path / folder / 'a.txt').write_text('x')
  (tmp_path / 'set' / 'part').symlink_to('../other', target_is_directory=True)
  (tmp_path / 'set' / 'loop').symlink_to('.', target_is_directory=True)
  (tmp_path / 'set' / 'b.png').symlink_to('none.png')
  (tmp_path / 'set' / 'c.png').symlink_to('c.png')
  ids, (line,) = read(tmp_path / 'set')
  assert ids == ['a'] and line.endswith(': 4, e.g. b.png, c.png, loop, part')


def test_images_that_a_metadata_file_does_not_name_are_counted(tmp_path):
  names = [f'{i}.png' for i in range(4)]
  data_forms.images(tmp_path, names)
  rows = [{'file_name': f'./{name}', 'text': 'x'} for name in names[:2]]
  path = tmp_path / 'metadata.jsonl'
  path.write_text('\n'.join(map(json.dumps, rows)))
  ids, (line,) = read(tmp_path)
  assert len(ids) == 2
  assert line.endswith('no record names are left out: 2, e.g. 2.png')
  rows += [{'file_name': name, 'text': 'x'} for name in names[2:]]
  path.write_text('\n'.join(map(json.dumps, rows)))
  assert read(tmp_path)[1] == []


def test_questions_that_a_record_has_twice_are_counted(tmp_path):
  data_forms.images(tmp_path, ['a.png'])
  question = {'question': 'q?', 'choices': ['yes', 'no'], 'answer': 'yes'}
  others = [question | {'answer': 'no'}, question | {'question': 'r?'}]
  record = {'id': 'a', 'img_path': 'a.png', 'caption': 'x'}
  path = tmp_path / 'records.jsonl'
  for questions, count in (([question, *others], 0), ([question] * 3, 2)):
    path.write_text(json.dumps(record | {'questions': questions}))
    _, lines = read(path)
    assert len(lines) == bool(count)
    assert all(f"again: {count}, e.g. line 1: id 'a': 'q?'" in x for x in lines)


def test_threads_that_read_a_table_lose_no_name(tmp_path, monkeypatch):
  """The names of many images are in a table, which threads fill at once."""
  monkeypatch.setattr(disk_objects, 'MOST', 5)
  monkeypatch.setattr(disk_arrays, 'MOST_BYTES', 0)
  data_forms.images(tmp_path, ['first.png'])
  names = [f'{n}.png' for n in range(400)]
  for name in names:
    os.link(tmp_path / 'first.png', tmp_path / name)
  (tmp_path / 'metadata.jsonl').write_text(
    ''.join(json.dumps({'file_name': n, 'text': 'x'}) + '\n' for n in names)
  )
  records = folder_rows.open_folder(tmp_path)
  interval = sys.getswitchinterval()
  sys.setswitchinterval(1e-6)
  try:
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
      assert len(list(threads.map(records.read, range(400)))) == 400
  finally:
    sys.setswitchinterval(interval)
  assert records.unlisted == ['first.png']
