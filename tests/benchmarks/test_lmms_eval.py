"""Data sets and logs of lmms-eval."""

import io
import json

from PIL import Image
import pyarrow as pa
from pyarrow import parquet
import pytest

from hermesflow_jax.benchmarks import lmms_eval
from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.benchmarks import registry

RECORDS = {
  'pope': [
    {'question_id': '7', 'category': 'popular', 'answer': 'no'},
    {'question_id': '7', 'category': 'adversarial', 'answer': 'yes'},
    {'question_id': '8', 'category': 'random', 'answer': 'no'},
  ],
  'mme': [
    {'question_id': f'{subtask}/1.png', 'category': subtask, 'answer': answer}
    for subtask in ('OCR', 'count')
    for answer in ('Yes', 'No')
  ],
}


def write(root, records):
  """Writes a file for each row, in the form of lmms-eval's data sets."""
  file = io.BytesIO()
  Image.new('RGB', (8, 8)).save(file, 'PNG')
  for number, record in enumerate(records):
    row = record | {'question': f'is it {number}?'}
    row['image'] = {'bytes': file.getvalue(), 'path': ''}
    table = pa.table({name: [value] for name, value in row.items()})
    parquet.write_table(table, root / f'test-{number:05d}-of-9.parquet')


@pytest.mark.parametrize('name', RECORDS)
def test_replies_go_to_the_documents_of_the_task(tmp_path, name):
  write(tmp_path, RECORDS[name])
  benchmark = registry.make(name)
  content = benchmark.read(protocol.BenchmarkFiles(str(tmp_path)))
  assert content.form == 'lmms-eval'
  replies = {row.id: row.reference['question'] for row in content.rows}
  files = benchmark.prediction_files(content.rows, replies)
  log = json.loads(files[f'lmms_eval/{name}.json'])
  assert log['args']['limit'] is None
  assert log['model_configs'] == {'task': name}
  assert {x['doc_id']: x['resps'] for x in log['logs']} == {
    number: [[f'is it {number}?']] for number in range(len(RECORDS[name]))
  }
  assert content.rows[0].image.open().read()[:4] == b'\x89PNG'
  # lmms-eval asks for all documents.
  few = benchmark.prediction_files(content.rows[1:], replies)
  assert not any(file.startswith('lmms_eval/') for file in few)


def test_the_official_script_gets_its_own_order(tmp_path):
  records = [
    {'question_id': f'{n}', 'category': 'random', 'answer': 'no'}
    for n in (10, 2, 1)
  ]
  write(tmp_path, records)
  benchmark = registry.make('pope')
  rows = benchmark.read(protocol.BenchmarkFiles(str(tmp_path))).rows
  text = benchmark.prediction_files(rows, {})['coco_pope_random.jsonl']
  lines = map(json.loads, text.splitlines())
  assert [line['question_id'] for line in lines] == ['1', '2', '10']


def test_rows_of_other_files_have_no_documents():
  row = protocol.ImageQuestion('a', None, 'q', {})
  assert lmms_eval.prediction_files('pope', [row], {}) == {}


def test_another_data_set_is_refused(tmp_path):
  write(tmp_path, [{'id': '1', 'answer': 'yes'}])
  with pytest.raises(ValueError, match='must have columns question_id'):
    registry.make('pope').read(protocol.BenchmarkFiles(str(tmp_path)))
