"""The annotation files of HermesFlow hold the same records."""

import dataclasses
import functools
import json

import annotation_files
import pytest

from hermesflow_jax.data import record_files


def official(root, rows, form):
  """The files of HermesFlow: `initial_data.json`, `vqa_data.json`."""
  source = annotation_files.written(root, [])
  initial, vqa = root / 'initial_data.json', root / 'vqa_data.json'
  requested = [
    {k: v for k, v in question.items() if k != 'element_type'}
    | {k: row[k] for k in ('id', 'img_path', 'prompt')}
    for row in rows
    for question in row['questions']
  ]
  rows = [
    {k: row[k] for k in ('id', 'img_path', 'prompt', 'caption')} for row in rows
  ]
  for path, values in ((initial, rows), (vqa, requested)):
    path.write_text(FORMS[form](values))
  return record_files.Source(str(initial), source.images, questions=str(vqa))


FORMS = {
  'a list': functools.partial(json.dumps, indent=4),
  'lines': lambda rows: ''.join(json.dumps(row) + '\n' for row in rows),
  # As the official scripts append to a file.
  'objects with commas': lambda rows: ''.join(
    json.dumps(row, indent=4) + ',\n' for row in rows
  ),
}


@pytest.mark.parametrize('form', FORMS)
def test_official_files_hold_the_same_records(form, tmp_path):
  rows = [annotation_files.line(n, id=n + 8, prompt=f'p{n}') for n in range(4)]
  actual = record_files.read_records(official(tmp_path, rows, form))
  # Numbers are text, in the order of text, as every id is.
  assert [r['id'] for r in actual] == ['10', '11', '8', '9']
  assert [r['official_id'] for r in actual] == [10, 11, 8, 9]
  assert [r['prompt'] for r in actual] == ['p2', 'p3', 'p0', 'p1']
  for record, row in zip(actual, [rows[n] for n in (2, 3, 0, 1)]):
    assert record['caption'] == row['caption']
    assert [q['answer'] for q in record['questions']] == [
      q['answer'] for q in row['questions']
    ]
    assert {q['element_type'] for q in record['questions']} == {'other'}


@pytest.mark.parametrize('form', ['a list', 'objects with commas'])
def test_faults_of_official_files_are_skipped_record_by_record(form, tmp_path):
  rows = [annotation_files.line(n, id=n, prompt='p') for n in range(3)]
  source = official(tmp_path, rows, form)
  for name, old, new in (
    ('initial_data.json', '"id": 1', '"id": x'),
    ('vqa_data.json', '"id": 2', '"name": 2'),
  ):
    path, text = tmp_path / name, (tmp_path / name).read_text()
    path.write_text(text.replace(old, new))
  with pytest.raises(
    ValueError, match='question: id must be text.*record 2 .line'
  ):
    record_files.read_records(source)
  output = []
  actual = record_files.read_records(
    dataclasses.replace(source, on_error='skip'), output.append
  )
  assert [r['id'] for r in actual] == ['0']
  assert any('record 2 (line' in text for text in output)
  assert any("id '2' has no questions" in text for text in output)
