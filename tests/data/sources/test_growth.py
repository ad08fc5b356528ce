"""Nothing in memory grows with the records of a data set."""

import csv
import json
import os
import sys

import data_forms
import memory_growth
import pytest

from hermesflow_jax.data import record_files
from hermesflow_jax.data.sources import byte_ranges
from hermesflow_jax.data.sources import json_scanner
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import text_files

FEW, MANY = 100, 500
# Bytes of a record: 64 KiB that some whole runs of the tests have more, see
# `memory_growth`. With names in memory it was 190 to 1,400.
BOUND = 170


@pytest.fixture(autouse=True)
def hold_little(monkeypatch):
  monkeypatch.setattr(byte_ranges, 'CHUNK', 2**13)
  monkeypatch.setattr(json_scanner, 'MOST_BYTES', 2**13)
  monkeypatch.setattr(text_files, '_BEGINNING', 2**13)
  monkeypatch.setattr(disk_objects, 'MOST', 50)
  monkeypatch.setattr(disk_arrays, 'MOST_BYTES', 2**9)
  # Parts of paths come and go in a table, which is made anew at times.
  monkeypatch.setattr(sys, 'intern', lambda text: text)


def name(number):
  """Names are in no order."""
  return f'scene-{number * 7919 % 10_007:09d}'


def record(number):
  return {
    'id': name(number),
    'img_path': 'a.png',
    'caption': f'a ring and {number} squares',
    'questions': [data_forms.question(0)],
  }


def write_lines(path, rows):
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return record_files.Source(str(path))


def lines(root, count):
  data_forms.images(root, ['a.png'])
  return write_lines(root / 'a.jsonl', map(record, range(count)))


def by_name(root, count):
  """A JSON object with a record for each name."""
  source = lines(root, count)
  rows = {name(number): record(number) for number in range(count)}
  for row in rows.values():
    del row['id']
  (root / 'a.jsonl').write_text(json.dumps(rows))
  return source


def questions_apart(root, count):
  """Two questions of each record, in a file of their own."""
  rows = [record(number) for number in range(count)]
  for row in rows:
    del row['questions']
  data_forms.images(root, ['a.png'])
  source = write_lines(root / 'a.jsonl', rows)
  write_lines(
    root / 'questions.json',
    [
      data_forms.question(0, id=name(number), question=f'what is {half}?')
      for half in range(2)
      for number in range(count)
    ],
  )
  return record_files.Source(
    source.annotations, questions=str(root / 'questions.json')
  )


def image_names(root, count):
  """Writes files of one image under many names; returns these."""
  data_forms.images(root, ['first.png'])
  names = [f'{name(number)}.png' for number in range(count)]
  for file in names:
    os.link(root / 'first.png', root / file)
  (root / 'first.png').unlink()
  return names


def table(root, count):
  rows = [
    {'file_name': file, 'text': f'a ring, {number}'}
    for number, file in enumerate(image_names(root, count))
  ]
  with open(root / 'metadata.csv', 'w', newline='') as file:
    writer = csv.DictWriter(file, ['file_name', 'text'])
    writer.writeheader()
    writer.writerows(rows)
  return record_files.Source(str(root))


def captions_beside_images(root, count):
  for file in image_names(root, count):
    (root / file.replace('.png', '.txt')).write_text('a ring')
  return record_files.Source(str(root))


def shards(root, count):
  files, image = {}, data_forms.png(0)
  for number in range(count):
    files[f'{name(number)}.png'] = image
    files[f'{name(number)}.txt'] = b'a ring'
  data_forms.tar(root / 'a.tar', files)
  return record_files.Source(str(root / 'a.tar'))


@pytest.mark.parametrize(
  'write',
  [lines, by_name, questions_apart, table, captions_beside_images, shards],
)
def test_memory_does_not_grow_with_records(write, tmp_path):
  sources = {}
  for count in (FEW, MANY):
    root = tmp_path / str(count)
    root.mkdir()
    sources[count] = write(root, count)
  has_questions = write in (lines, questions_apart)

  def opened(count):
    return record_files.open_records(
      sources[count], needs_questions=has_questions
    )

  few = opened(FEW)
  assert [few[n]['id'] for n in range(FEW)] == sorted(map(name, range(FEW)))
  if has_questions:
    assert all(few[n]['questions'] for n in range(FEW))
  assert len(opened(MANY)) == MANY
  memory_growth.check_below(BOUND, opened, FEW, MANY)
