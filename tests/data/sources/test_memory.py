"""Memory holds places of records, not the records."""

import gc
import json
import tracemalloc

import data_forms
import pytest

from hermesflow_jax.data import record_files
from hermesflow_jax.data.sources import byte_ranges

COUNT = 400
# Bytes of a record that memory may hold: its id, its offsets, its line.
INDEX = 400
CAPTION = 'word ' * 2000


def lines(root):
  data_forms.images(root, ['a.png'])
  with open(root / 'a.jsonl', 'w') as file:
    for n in range(COUNT):
      row = {'id': str(n), 'img_path': 'a.png', 'caption': CAPTION}
      file.write(json.dumps(row) + '\n')
  return record_files.Source(str(root / 'a.jsonl'), str(root))


def a_list(root):
  source = lines(root)
  rows = (root / 'a.jsonl').read_text().splitlines()
  (root / 'a.jsonl').write_text('[' + ','.join(rows) + ']')
  return source


def shards(root):
  files = {}
  for n in range(COUNT):
    files |= {f'{n}.png': data_forms.png(0), f'{n}.txt': CAPTION.encode()}
  data_forms.tar(root / 'a.tar', files)
  return record_files.Source(str(root / 'a.tar'))


@pytest.mark.parametrize('write', [lines, a_list, shards])
def test_memory_grows_with_the_index_alone(write, tmp_path, monkeypatch):
  monkeypatch.setattr(byte_ranges, 'CHUNK', 2**16)
  source = write(tmp_path)
  tracemalloc.start()
  examples = record_files.open_records(source, needs_questions=False)
  gc.collect()
  held, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  # A buffer of the pass over the file, and the index.
  assert peak < 1_500_000
  assert len(examples) == COUNT
  # The file has 4 MB.
  assert held < INDEX * COUNT + 400_000
  assert examples[7]['caption'] == CAPTION.strip() or (
    examples[7]['caption'] == CAPTION
  )
