"""Texts of all sources: nothing is cut, and all faults are named at once."""

import json

import data_forms
import pytest

from hermesflow_jax.data import task_sources
from hermesflow_jax.data.sources import text_rows


def texts(path, field='text', **changes):
  source = text_rows.Texts(str(path), field, **changes)
  return [source[n]['text'] for n in range(len(source))]


def test_texts_are_paragraphs_files_or_fields(tmp_path):
  file = tmp_path / 'a.txt'
  file.write_text('\n\na red bench\nin the rain\n\n\n早い\n', encoding='utf-8')
  assert texts(file) == ['a red bench\nin the rain', '早い']
  folder = tmp_path / 'folder'
  folder.mkdir()
  (folder / 'b.txt').write_text('two\n\nparts')
  (folder / 'a.txt').write_text('one')
  assert texts(folder) == ['one', 'two\n\nparts']
  table = tmp_path / 'a.csv'
  table.write_text('text,n\n"a, b",1\nc,2\n')
  assert texts(table) == ['a, b', 'c']
  lines = tmp_path / 'a.jsonl'
  lines.write_text('{"body": {"de": "x"}}\n{"body": {"de": "y"}}\n')
  assert texts(lines, 'body/de') == ['x', 'y']
  turns = tmp_path / 'llava.json'
  turns.write_text(json.dumps([data_forms.llava_record(0)]))
  assert texts(turns)[0].splitlines()[:2] == ['Describe it.', 'a red ring']


@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
def test_paragraphs_have_any_line_ends(tmp_path, end):
  file = tmp_path / 'a.txt'
  file.write_bytes('\ufeffa\nb\n\n\nc\n'.replace('\n', end).encode())
  assert texts(file) == [f'a{end}b', 'c']


@pytest.mark.parametrize(
  'content, error',
  [
    ('{"body": "x"}\n', "text must be a text, got 'None'; name the field"),
    ('', 'must hold texts, got none'),
  ],
)
def test_records_without_texts_are_refused(tmp_path, content, error):
  (tmp_path / 'a.jsonl').write_text(content)
  with pytest.raises(ValueError, match=error):
    text_rows.Texts(str(tmp_path / 'a.jsonl'))


def paragraphs(root):
  root = root / 'a.txt'
  root.write_bytes(b'good\n\nna\xefve\n\nbell \a\n\ngood too')
  return root, ['paragraph 2: ', 'the byte 0xef', 'paragraph 3: ', 'U+0007']


def files(root):
  (root / 'a.txt').write_text('good')
  (root / 'b.txt').write_bytes(b'\x1f\x8b\x08\0' + b'\xff' * 99)
  (root / 'c.txt').write_bytes('caf\xe9 noir\nno\nno'.encode('latin-1'))
  (root / 'd.TXT').write_text('good too')
  return root, ['b.txt: ', 'a gzip file', 'c.txt: ', 'the byte 0xe9']


def lines(root):
  rows = ['{"text": "good"}', '{', '{"text": null}', '[]']
  rows += ['{"text": "\\ud83d"}', '{"a": 1}', '{"text": "good too"}', '"good"']
  rows += ['{"text": NaN}', '{"conversations": [{"from": "gpt"}]}']
  (root / 'a.jsonl').write_text('\n'.join(rows))
  numbers = [2, 3, 4, 5, 6, 9, 10]
  return root / 'a.jsonl', [f'line {n}: ' for n in numbers] + ['half a char']


def table(root):
  (root / 'a.csv').write_text('text,b\ngood,1\n"bad\n"good too",2\na,b,c\n')
  return root / 'a.csv', ['line 3: ', 'line 5: a row must have 2 cells']


@pytest.mark.parametrize('write', [paragraphs, files, lines, table])
def test_all_faults_are_one_line_and_may_be_skipped(tmp_path, write):
  path, faults = write(tmp_path)
  with pytest.raises(ValueError) as error:
    texts(path)
  for fault in faults:
    assert fault in str(error.value)
  assert '\n' not in str(error.value)
  assert str(error.value).endswith(
    "'on_error': 'skip' in its set leaves them out"
  )
  output = []
  rest = texts(path, on_error='skip', say=output.append)
  assert rest[:2] == ['good', 'good too'] and set(rest[2:]) <= {'good'}
  for fault in faults:
    assert any(fault in line for line in output), fault


@pytest.mark.parametrize('folder', [False, True])
def test_long_texts_are_several_texts_and_lose_nothing(
  tmp_path, monkeypatch, folder
):
  monkeypatch.setattr(text_rows, '_MOST_BYTES', 64)
  words = [f'word{n}' for n in range(100)]
  long_line = ' '.join(words)
  short_lines = '\n'.join(words)
  for text in (long_line, short_lines, '早い' * 100):
    (tmp_path / 'a.txt').write_text(text)
    parts = texts(tmp_path if folder else tmp_path / 'a.txt')
    assert len(parts) > 1
    assert max(len(part.encode()) for part in parts) <= 2 * 64
    assert ''.join(''.join(parts).split()) == ''.join(text.split())
    assert not set(' '.join(parts).split()) - set(text.split()) or '早' in text


def test_empty_texts_and_other_files_are_counted(tmp_path):
  output = []
  for name, text in (('a', 'x'), ('b', ''), ('c', ' \n')):
    (tmp_path / f'{name}.txt').write_text(text)
  (tmp_path / 'd.md').write_text('x')
  (tmp_path / 'e.txt').symlink_to('none.txt')
  assert texts(tmp_path, say=output.append) == ['x', '', '']
  assert output == [
    f'{tmp_path}: files that are no .txt are left out: 2, e.g. d.md',
    f'warning: {tmp_path}: 2 texts are empty, first b.txt',
  ]


def test_the_hash_of_a_folder_is_that_of_its_texts(tmp_path):
  (tmp_path / 'a.txt').write_text('x')
  hashes = [
    task_sources.content_hashes(
      {'lm': [task_sources.TextSet(str(tmp_path), on_error=policy)]}
    )
    for policy in ('raise', 'skip')
  ]
  (tmp_path / 'b.txt').write_bytes(b'ok\nok\n\xff')
  skipping = task_sources.TextSet(str(tmp_path), on_error='skip')
  hashes.append(task_sources.content_hashes({'lm': [skipping]}))
  assert hashes[0] == hashes[1] == hashes[2]
