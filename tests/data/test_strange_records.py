"""Records as other programs write them, with all their faults at once."""

import dataclasses
import json
import unicodedata

import annotation_files
import pytest

from hermesflow_jax.data import input_faults
from hermesflow_jax.data import record_files


def question(**changes):
  return {'question': 'a ?', 'choices': ['x', 'y'], 'answer': 'x'} | changes


def read(tmp_path, rows, say=lambda line: None):
  return record_files.read_records(
    annotation_files.written(tmp_path, rows), say
  )


def test_the_first_ten_faults_are_named_and_the_others_counted(tmp_path):
  with pytest.raises(ValueError) as error:
    read(tmp_path, ['{'] * 13)
  for number in range(1, 11):
    assert f'line {number}: ' in str(error.value)
  assert str(error.value).endswith('; and 3 more')
  assert 'line 11' not in str(error.value)


def test_all_faults_of_a_record_are_named(tmp_path):
  row = annotation_files.line(
    0,
    caption='a\0ring',
    img_path='none.png',
    questions=[question(answer='z'), question(choices=['x']), question()],
  )
  with pytest.raises(ValueError) as error:
    read(tmp_path, [row])
  for fault in (
    'there is no image',
    'caption must have no control characters',
    "answer must be one of ['x', 'y'], got 'z'",
    "choices must be different texts, got ['x']",
  ):
    assert fault in str(error.value)


EACH_FAULT = {
  'bad JSON': '{',
  'a list': '[1]',
  'no id': {'img_path': 'scene-1.png', 'caption': 'a'},
  'an id of odd characters': annotation_files.line(1, id='a b'),
  'half a character': annotation_files.line(1, caption='a \ud83d'),
  'NUL': annotation_files.line(1, caption='a\0'),
  'a missing image': annotation_files.line(1, img_path='none.png'),
  'no caption': annotation_files.line(1, caption=None),
  'no question': annotation_files.line(1, questions=[]),
  'a question that is none': annotation_files.line(1, questions=['a ?']),
  'a question of control characters': annotation_files.line(
    1, questions=[question(question='a \x1b[0m ?')]
  ),
  'a choice of half a character': annotation_files.line(
    1, questions=[question(choices=['x', '\udc00'])]
  ),
  'a prompt that is no text': annotation_files.line(1, prompt=['a']),
  'questions that are no list': annotation_files.line(1, questions={'a': 1}),
  'an id of many digits': annotation_files.line(1, id=10**200),
  'a caption as long as a book': annotation_files.line(1, caption='a' * 2**21),
  'lists inside lists': '{"id": "a", "b": ' + '[' * 900 + ']' * 900 + '}',
  'choices that differ in odd spaces alone': annotation_files.line(
    1, questions=[question(choices=['x y', 'x\xa0y'], answer='x y')]
  ),
}


@pytest.mark.parametrize('fault', EACH_FAULT)
def test_every_fault_may_be_skipped(fault, tmp_path):
  rows = [annotation_files.line(0), EACH_FAULT[fault], annotation_files.line(2)]
  with pytest.raises(ValueError, match='a.jsonl: line 2: '):
    read(tmp_path, rows)
  output = []
  actual = record_files.read_records(
    annotation_files.skipping(tmp_path, rows), output.append
  )
  assert [r['id'] for r in actual] == ['scene-0', 'scene-2']
  assert '1 of 3 left out' in output[-2] and output[-1].startswith('  line 2: ')


def test_a_byte_that_is_not_utf_8_is_a_fault_of_its_record(tmp_path):
  rows = [annotation_files.line(n) for n in range(3)]
  source = annotation_files.skipping(tmp_path, rows)
  data = (tmp_path / 'a.jsonl').read_bytes().split(b'\n')
  data[1] = data[1].replace(b'"caption": "', b'"caption": "\xff')
  (tmp_path / 'a.jsonl').write_bytes(b'\n'.join(data))
  output = []
  actual = record_files.read_records(source, output.append)
  assert [r['id'] for r in actual] == ['scene-0', 'scene-2']
  assert 'line 2: caption must be Unicode text' in output[1]
  assert 'the byte 0xff' in output[1]


def test_odd_spaces_are_replaced_everywhere_and_reported(tmp_path):
  clean = annotation_files.line(0, caption='a red ring', prompt='a ring')
  clean['questions'] = [question(choices=['x y', 'z'], answer='x y')]
  odd = clean | {'caption': '\u200ba red\xa0ring', 'prompt': 'a\u3000ring'}
  odd['questions'] = [question(choices=['x\xa0y', 'z'], answer='x y\u200e')]
  expected = read(tmp_path, [clean])[0]
  output = []
  (actual,) = read(tmp_path, [odd], output.append)
  assert actual['caption'] == expected['caption']
  assert actual['prompt'] == expected['prompt']
  assert actual['questions'] == expected['questions']
  (line,) = output
  assert 'replaced in 1 records, first in line 1: ' in line
  assert 'U+00A0 (NO-BREAK SPACE)' in line and 'U+200E' in line


def test_links_in_a_circle_are_a_fault_of_their_record(tmp_path):
  rows = [annotation_files.line(0), annotation_files.line(1, img_path='a.png')]
  source = annotation_files.written(tmp_path, rows)
  (tmp_path / 'a.png').symlink_to('b.png')
  (tmp_path / 'b.png').symlink_to('a.png')
  with pytest.raises(ValueError, match='line 2: .*a.png') as error:
    record_files.read_records(source)
  assert 'line 1' not in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('forms', [('NFC', 'NFD'), ('NFD', 'NFC')])
def test_a_file_name_may_have_another_form_of_its_accents(tmp_path, forms):
  names = [unicodedata.normalize(form, 'caf\xe9.png') for form in forms]
  row = annotation_files.line(0, img_path=names[0])
  source = annotation_files.written(tmp_path, [row])
  (tmp_path / 'scene-0.png').rename(tmp_path / names[1])
  assert record_files.read_records(source)[0]['path'].name == names[1]


def test_faults_of_questions_are_named_where_no_record_has_any(tmp_path):
  rows = [annotation_files.line(n, questions=None) for n in range(2)]
  source = annotation_files.written(tmp_path, rows)
  (tmp_path / 'q.json').write_text('[{"id": null}, 5]')
  source = dataclasses.replace(source, questions=str(tmp_path / 'q.json'))
  with pytest.raises(
    ValueError, match='got none in 2 records.*q.json, record 1'
  ):
    record_files.read_records(source)


def test_a_file_name_may_have_odd_spaces(tmp_path):
  name = 'Screenshot 1.00\u202fPM.png'
  row = annotation_files.line(0, img_path=name)
  source = annotation_files.written(tmp_path, [row])
  (tmp_path / 'scene-0.png').rename(tmp_path / name)
  assert record_files.read_records(source)[0]['path'].name == name


def llava(number):
  """Returns a record of LLaVA's instruction files."""
  return {
    'id': f'00000{number}',
    'image': f'scene-{number}.png',
    'conversations': [
      {'from': 'human', 'value': 'Write a caption.\n<image>'},
      {'from': 'gpt', 'value': f'caption {number}'},
      {'from': 'human', 'value': 'What is it?'},
      {'from': 'gpt', 'value': 'a ring'},
    ],
  }


@pytest.mark.parametrize(
  'write', [json.dumps, lambda rows: json.dumps(rows, indent=2)]
)
def test_llava_files_are_read_with_a_file_of_questions(write, tmp_path):
  source = annotation_files.written(tmp_path, [])
  (tmp_path / 'llava.json').write_text(write([llava(n) for n in range(2)]))
  (tmp_path / 'tifa.jsonl').write_text(
    ''.join(json.dumps(question(id=f'00000{n}')) + '\n' for n in range(2))
  )
  actual = record_files.read_records(
    record_files.Source(
      str(tmp_path / 'llava.json'), source.images, str(tmp_path / 'tifa.jsonl')
    )
  )
  assert [r['caption'] for r in actual] == ['caption 0', 'caption 1']
  assert [r['path'].name for r in actual] == ['scene-0.png', 'scene-1.png']


def test_llava_records_without_image_or_reply_are_faults(tmp_path):
  text_only = {k: v for k, v in llava(0).items() if k != 'image'}
  silent = llava(1) | {'conversations': [{'from': 'human', 'value': 'a ?'}]}
  with pytest.raises(ValueError) as error:
    read(tmp_path, [text_only, silent])
  assert 'line 1: img_path must be text, got None' in str(error.value)
  assert 'line 2: caption must be text, got None' in str(error.value)


WRAPPERS = {
  'a named list': lambda rows: {'data': rows},
  'an object by id': lambda rows: {
    r['id']: {k: v for k, v in r.items() if k != 'id'} for r in rows
  },
}


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_records_may_lie_in_an_object(wrapper, tmp_path):
  rows = [annotation_files.line(n) for n in range(3)]
  source = annotation_files.written(tmp_path, rows)
  expected = record_files.read_records(source)
  text = json.dumps(WRAPPERS[wrapper](rows), indent=1)
  (tmp_path / 'a.jsonl').write_text(text)
  actual = record_files.read_records(source)
  fields = ('id', 'path', 'caption')
  for record, other in zip(actual, expected, strict=True):
    assert all(record[name] == other[name] for name in fields)


def test_questions_may_lie_in_an_object_by_id(tmp_path):
  rows = [annotation_files.line(n) for n in range(2)]
  source = annotation_files.written(tmp_path, rows)
  expected = [r['questions'] for r in record_files.read_records(source)]
  tifa = {
    r['id']: [{k: v for k, v in q.items() if k != 'id'} for q in r['questions']]
    for r in rows
  }
  (tmp_path / 'tifa.json').write_text(json.dumps(tifa))
  actual = record_files.read_records(
    record_files.Source(
      source.annotations, source.images, str(tmp_path / 'tifa.json')
    )
  )
  assert [r['questions'] for r in actual] == expected


@pytest.mark.parametrize('indent', [None, 2])
def test_a_record_without_id_names_its_fields(indent, tmp_path):
  table = {'images': [{'file_name': 'a.png'}], 'annotations': []}
  source = annotation_files.written(tmp_path, [])
  (tmp_path / 'a.jsonl').write_text(json.dumps(table, indent=indent))
  with pytest.raises(
    ValueError, match="the fields are 'images', 'annotations'"
  ):
    record_files.read_records(source)


def test_a_single_fault_is_no_list():
  with pytest.raises(ValueError, match='^a: b$'):
    input_faults.raise_or_report(['b'], 1, 'raise', print, 'a')
