"""Records are read complete and sorted by id, or every fault is named."""

import json

import annotation_files
import pytest

from hermesflow_jax.data import record_files


def test_records_come_by_id_with_their_questions(tmp_path):
  rows = [
    annotation_files.line(2),
    annotation_files.line(0),
    annotation_files.line(1),
  ]
  actual = record_files.read_records(annotation_files.written(tmp_path, rows))
  assert [r['id'] for r in actual] == ['scene-0', 'scene-1', 'scene-2']
  assert actual[2]['caption'] == rows[0]['caption']
  assert actual[2]['questions'] == rows[0]['questions']


def test_questions_may_come_in_a_file_of_their_own(tmp_path):
  rows = [annotation_files.line(0), annotation_files.line(1)]
  tifa = tmp_path / 'tifa.json'
  tifa.write_text(json.dumps([q for r in rows[::-1] for q in r['questions']]))
  bare = [{k: r[k] for k in ('id', 'img_path', 'caption')} for r in rows]
  source = annotation_files.written(tmp_path, bare)
  actual = record_files.read_records(
    record_files.Source(source.annotations, source.images, questions=str(tifa))
  )
  assert [r['questions'] for r in actual] == [r['questions'] for r in rows]


FAULTS = {
  'no JSON': ('{', 'line 2: Expecting'),
  'a list': ('[]', 'line 2: a record must be a JSON object'),
  'NaN': ('{"id": NaN}', 'line 2: NaN is not JSON'),
  'nesting without end': ('[' * 100_000, 'line 2: it is nested too deeply'),
  'a key twice': ('{"id": "a", "id": "b"}', "duplicate key: 'id'"),
  'no caption': (
    annotation_files.line(1, caption=' '),
    "caption must be text, got ' '",
  ),
  'an id of odd characters': (
    annotation_files.line(1, id='a/b'),
    "id must be 1 to 128 of [A-Za-z0-9._-], got 'a/b'",
  ),
  'an id twice': (annotation_files.line(0), "duplicate id 'scene-0'"),
  'a path out of the folder': (
    annotation_files.line(1, img_path='../b.png'),
    'leaves',
  ),
  'a name no disk has': (
    annotation_files.line(1, img_path='b' * 5000),
    'line 2: img_path: File name too long',
  ),
  'a link to the web': (
    annotation_files.line(1, img_path='https://a.org/b.png'),
    "got 'https://a.org/b.png'; download the image",
  ),
  'no such image': (
    annotation_files.line(1, img_path='b.png'),
    'there is no image',
  ),
  'no question': (
    annotation_files.line(1, questions=[]),
    "'scene-1' has no questions",
  ),
  'one choice': (
    annotation_files.line(
      1, questions=[{'question': 'a ?', 'choices': ['x'], 'answer': 'x'}]
    ),
    'choices must be different texts',
  ),
  'an answer that cannot be given': (
    annotation_files.line(
      1, questions=[{'question': 'a ?', 'choices': ['x', 'y'], 'answer': 'z'}]
    ),
    "answer must be one of ['x', 'y'], got 'z'",
  ),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_a_fault_is_named_with_its_line(fault, tmp_path):
  row, output = FAULTS[fault]
  with pytest.raises(ValueError) as error:
    record_files.read_records(
      annotation_files.written(tmp_path, [annotation_files.line(0), row])
    )
  assert output in str(error.value)
  assert str(error.value).startswith(f'{tmp_path}/a.jsonl: line 2: ')
  assert '\n' not in str(error.value)


def test_a_file_is_no_folder_of_images(tmp_path):
  source = annotation_files.written(tmp_path, [annotation_files.line(0)])
  source = record_files.Source(source.annotations, source.annotations)
  with pytest.raises(ValueError, match='images must be a folder, got the file'):
    record_files.read_records(source)


def test_blank_lines_count_as_lines(tmp_path):
  source = annotation_files.written(
    tmp_path, [annotation_files.line(0), '', '{']
  )
  with pytest.raises(ValueError, match='line 3: '):
    record_files.read_records(source)


@pytest.mark.parametrize(
  'content, output',
  [
    (b'{}', 'tifa.json, line 1: a question: id must be text, got None'),
    (
      b'[1]',
      'tifa.json, record 1 .line 1.: a question: a record must be a JSON object',
    ),
    (b'[{"question": "a ?"}]', 'a question: id must be text, got None'),
    (b'[{"id": []}]', 'a question: id must be text, got ..'),
    (b'[', 'tifa.json, the end: a question: the list has no end'),
    (b'\xff', 'tifa.json cannot be read'),
  ],
)
def test_a_file_of_questions_that_is_none_is_named(content, output, tmp_path):
  source = annotation_files.written(tmp_path, [annotation_files.line(0)])
  tifa = tmp_path / 'tifa.json'
  tifa.write_bytes(content)
  with pytest.raises(ValueError, match=output):
    record_files.read_records(
      record_files.Source(source.annotations, source.images, str(tifa))
    )


@pytest.mark.parametrize('name', [1.0, True, None, '', [1], -1e400])
def test_what_is_no_text_and_no_whole_number_is_no_id(name, tmp_path):
  with pytest.raises(
    ValueError, match='line 2: (id must be text|-Infinity is not)'
  ):
    record_files.read_records(
      annotation_files.written(
        tmp_path, [annotation_files.line(0), annotation_files.line(1, id=name)]
      )
    )


@pytest.mark.parametrize('where', ['caption', 'question'])
def test_half_a_character_is_a_fault(where, tmp_path):
  """It would end in a TypeError of the text tokenizer, after hours."""
  row = annotation_files.line(1, caption='a red \ud83d ring')
  if where == 'question':
    row = annotation_files.line(1)
    row['questions'][0]['question'] = 'what \ud83d is it ?'
  with pytest.raises(ValueError, match=f'line 2: {where} must be Unicode'):
    record_files.read_records(
      annotation_files.written(tmp_path, [annotation_files.line(0), row])
    )
  source = annotation_files.skipping(tmp_path, [annotation_files.line(0), row])
  assert [r['id'] for r in record_files.read_records(source)] == ['scene-0']


def test_what_else_makes_a_record_useless_is_a_fault_of_its_line(tmp_path):
  def check(record):
    if record['id'] == 'scene-1':
      raise ValueError('it does not fit')

  rows = [annotation_files.line(n) for n in range(3)]
  with pytest.raises(ValueError, match='line 2: it does not fit'):
    record_files.read_records(
      annotation_files.written(tmp_path, rows), check=check
    )
  actual = record_files.read_records(
    annotation_files.skipping(tmp_path, rows), check=check
  )
  assert [r['id'] for r in actual] == ['scene-0', 'scene-2']


def test_many_faults_are_counted(tmp_path):
  source = annotation_files.written(tmp_path, ['{'] * 12)
  with pytest.raises(ValueError, match='and 2 more$'):
    record_files.read_records(source)


def test_a_link_out_of_the_folder_is_refused(tmp_path):
  inside = tmp_path / 'inside'
  inside.mkdir()
  source = annotation_files.written(
    inside, [annotation_files.line(0, img_path='link.png')]
  )
  (tmp_path / 'b.png').write_bytes((inside / 'scene-0.png').read_bytes())
  (inside / 'link.png').symlink_to(tmp_path / 'b.png')
  with pytest.raises(ValueError, match='leaves'):
    record_files.read_records(source)


def test_files_without_records_are_refused(tmp_path):
  with pytest.raises(ValueError, match='there is no record'):
    record_files.read_records(annotation_files.written(tmp_path, []))
  with pytest.raises(ValueError, match='none.jsonl cannot be read'):
    record_files.read_records(
      record_files.Source(str(tmp_path / 'none.jsonl'), str(tmp_path))
    )


def test_faults_are_skipped_where_asked_and_said(tmp_path):
  source = annotation_files.skipping(
    tmp_path,
    [
      annotation_files.line(0),
      '{',
      annotation_files.line(0),
      annotation_files.line(1, caption=''),
    ],
  )
  message = []
  assert [
    r['id'] for r in record_files.read_records(source, message.append)
  ] == ['scene-0']
  assert message[0].endswith(': 3 of 4 left out:') and len(message) == 4
  assert message[1].startswith('  line 2: ')
  assert message[2] == "  line 3: duplicate id 'scene-0'"
  with pytest.raises(ValueError, match='line 1'):
    record_files.read_records(annotation_files.skipping(tmp_path, ['{']))
  with pytest.raises(ValueError, match='on_error'):
    record_files.Source('a', 'b', on_error='ignore')


@pytest.mark.parametrize(
  'path, output',
  [
    ('none.png', 'there is no image gs://bucket/data/none.png'),
    ('../scene-0.png', "'../scene-0.png' leaves gs://bucket/data"),
    ('/scene-0.png', "'/scene-0.png' leaves gs://bucket/data"),
  ],
)
def test_paths_that_leave_a_bucket_s_folder_are_refused(
  bucket, tmp_path, path, output
):
  local = annotation_files.written(
    tmp_path,
    [annotation_files.line(0), annotation_files.line(1, img_path=path)],
  )
  bucket.put('scene-0.png', b'')
  with pytest.raises(ValueError, match='line 2: .*' + output):
    record_files.read_records(annotation_files.carried(bucket, tmp_path, local))
