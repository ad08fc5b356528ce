"""Records from files: whole and by id, or a line that names every fault."""

import dataclasses
import functools
import json

import numpy as np
from PIL import Image
import pytest

from hermesflow_jax.data import image_encoding
from hermesflow_jax.data import image_reader
from hermesflow_jax.data import record_files
from hermesflow_jax.runtime import storage
from hermesflow_jax.shapes import caption_questions
from hermesflow_jax.shapes import drawing
from hermesflow_jax.shapes import scene_sampler
from hermesflow_jax.shapes import shape_world


def line(number, **changes):
  """One annotation of the embedded world."""
  scene = scene_sampler.sample_scene('eval', 0, number)
  name = f'scene-{number}'
  return {
    'id': name,
    'img_path': f'{name}.png',
    'caption': scene.caption,
    'questions': caption_questions.questions_of_caption(name, scene.caption),
  } | changes


def written(root, rows):
  """Writes lines and the images of the first eight scenes."""
  for number in range(8):
    picture = drawing.render(scene_sampler.sample_scene('eval', 0, number))
    Image.fromarray(picture).save(root / f'scene-{number}.png')
  path = root / 'a.jsonl'
  path.write_text(
    ''.join(
      (row if isinstance(row, str) else json.dumps(row)) + '\n' for row in rows
    )
  )
  return record_files.Source(annotations=str(path), images=str(root))


class Encoder:
  """Codes that tell images apart, and how often it was asked."""

  calls = 0

  def encode(self, images):
    self.calls += 1
    return images.reshape(len(images), -1).sum(-1, dtype=np.int32)[:, None]


def test_records_come_by_id_with_their_questions(tmp_path):
  rows = [line(2), line(0), line(1)]
  found = record_files.read_records(written(tmp_path, rows))
  assert [r['id'] for r in found] == ['scene-0', 'scene-1', 'scene-2']
  assert found[2]['caption'] == rows[0]['caption']
  assert found[2]['questions'] == rows[0]['questions']


def test_questions_may_come_in_a_file_of_their_own(tmp_path):
  rows = [line(0), line(1)]
  tifa = tmp_path / 'tifa.json'
  tifa.write_text(json.dumps([q for r in rows[::-1] for q in r['questions']]))
  bare = [{k: r[k] for k in ('id', 'img_path', 'caption')} for r in rows]
  source = written(tmp_path, bare)
  found = record_files.read_records(
    record_files.Source(source.annotations, source.images, questions=str(tifa))
  )
  assert [r['questions'] for r in found] == [r['questions'] for r in rows]


FAULTS = {
  'no JSON': ('{', 'line 2: Expecting'),
  'a list': ('[]', 'line 2: it is no JSON object'),
  'NaN': ('{"id": NaN}', 'line 2: NaN is not JSON'),
  'nesting without end': ('[' * 100_000, 'line 2: it is nested too deep'),
  'a key twice': ('{"id": "a", "id": "b"}', "key twice: 'id'"),
  'no caption': (line(1, caption=' '), "caption is ' ', wanted text"),
  'an id of odd characters': (line(1, id='a/b'), "id 'a/b' is not of"),
  'an id twice': (line(0), "id 'scene-0' comes twice"),
  'a path out of the folder': (line(1, img_path='../b.png'), 'leaves'),
  'a name no disk has': (
    line(1, img_path='b' * 5000),
    'line 2: img_path: File name too long',
  ),
  'no such image': (line(1, img_path='b.png'), 'there is no image'),
  'no question': (line(1, questions=[]), "'scene-1' has no questions"),
  'one choice': (
    line(1, questions=[{'question': 'a ?', 'choices': ['x'], 'answer': 'x'}]),
    'wanted different texts',
  ),
  'an answer that cannot be given': (
    line(
      1, questions=[{'question': 'a ?', 'choices': ['x', 'y'], 'answer': 'z'}]
    ),
    "answer 'z' is none of",
  ),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_a_fault_is_named_with_its_line(fault, tmp_path):
  row, said = FAULTS[fault]
  with pytest.raises(ValueError) as error:
    record_files.read_records(written(tmp_path, [line(0), row]))
  assert said in str(error.value)
  assert str(error.value).startswith(f'{tmp_path}/a.jsonl: line 2: ')
  assert '\n' not in str(error.value)


def test_blank_lines_count_as_lines(tmp_path):
  source = written(tmp_path, [line(0), '', '{'])
  with pytest.raises(ValueError, match='line 3: '):
    record_files.read_records(source)


@pytest.mark.parametrize(
  'content, said',
  [
    (b'{}', 'tifa.json, line 1: a question: id is None, wanted text'),
    (b'[1]', 'tifa.json, record 1 .line 1.: a question: it is no JSON object'),
    (b'[{"question": "a ?"}]', 'a question: id is None'),
    (b'[{"id": []}]', 'a question: id is .., wanted text'),
    (b'[', 'tifa.json, the end: a question: the list has no end'),
    (b'\xff', 'tifa.json cannot be read'),
  ],
)
def test_a_file_of_questions_that_is_none_is_named(content, said, tmp_path):
  source = written(tmp_path, [line(0)])
  tifa = tmp_path / 'tifa.json'
  tifa.write_bytes(content)
  with pytest.raises(ValueError, match=said):
    record_files.read_records(
      record_files.Source(source.annotations, source.images, str(tifa))
    )


def official(root, rows, form):
  """The files of HermesFlow: `initial_data.json`, `vqa_data.json`."""
  source = written(root, [])
  initial, vqa = root / 'initial_data.json', root / 'vqa_data.json'
  asked = [
    {k: v for k, v in question.items() if k != 'element_type'}
    | {k: row[k] for k in ('id', 'img_path', 'prompt')}
    for row in rows
    for question in row['questions']
  ]
  rows = [
    {k: row[k] for k in ('id', 'img_path', 'prompt', 'caption')} for row in rows
  ]
  for path, values in ((initial, rows), (vqa, asked)):
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
  rows = [line(n, id=n + 8, prompt=f'p{n}') for n in range(4)]
  found = record_files.read_records(official(tmp_path, rows, form))
  # Numbers are text, in the order of text, as every id is.
  assert [r['id'] for r in found] == ['10', '11', '8', '9']
  assert [r['official_id'] for r in found] == [10, 11, 8, 9]
  assert [r['prompt'] for r in found] == ['p2', 'p3', 'p0', 'p1']
  for record, row in zip(found, [rows[n] for n in (2, 3, 0, 1)]):
    assert record['caption'] == row['caption']
    assert [q['answer'] for q in record['questions']] == [
      q['answer'] for q in row['questions']
    ]
    assert {q['element_type'] for q in record['questions']} == {'other'}


@pytest.mark.parametrize('name', [1.0, True, None, '', [1], -1e400])
def test_what_is_no_text_and_no_whole_number_is_no_id(name, tmp_path):
  with pytest.raises(ValueError, match='line 2: (id is|-Infinity is not)'):
    record_files.read_records(written(tmp_path, [line(0), line(1, id=name)]))


@pytest.mark.parametrize('form', ['a list', 'objects with commas'])
def test_faults_of_official_files_are_skipped_record_by_record(form, tmp_path):
  rows = [line(n, id=n, prompt='p') for n in range(3)]
  source = official(tmp_path, rows, form)
  for name, old, new in (
    ('initial_data.json', '"id": 1', '"id": x'),
    ('vqa_data.json', '"id": 2', '"name": 2'),
  ):
    path, text = tmp_path / name, (tmp_path / name).read_text()
    path.write_text(text.replace(old, new))
  with pytest.raises(ValueError, match='question: id is None.*record 2 .line'):
    record_files.read_records(source)
  said = []
  found = record_files.read_records(
    dataclasses.replace(source, on_error='skip'), said.append
  )
  assert [r['id'] for r in found] == ['0']
  assert any('record 2 (line' in text for text in said)
  assert any("id '2' has no questions" in text for text in said)


@pytest.mark.parametrize('where', ['caption', 'question'])
def test_half_a_character_is_a_fault(where, tmp_path):
  """It would end in a TypeError of the text tokenizer, after hours."""
  row = line(1, caption='a red \ud83d ring')
  if where == 'question':
    row = line(1)
    row['questions'][0]['question'] = 'what \ud83d is it ?'
  with pytest.raises(ValueError, match=f'line 2: {where} must be Unicode'):
    record_files.read_records(written(tmp_path, [line(0), row]))
  source = skipping(tmp_path, [line(0), row])
  assert [r['id'] for r in record_files.read_records(source)] == ['scene-0']


def test_what_else_makes_a_record_useless_is_a_fault_of_its_line(tmp_path):
  def check(record):
    if record['id'] == 'scene-1':
      raise ValueError('it has no room')

  rows = [line(n) for n in range(3)]
  with pytest.raises(ValueError, match='line 2: it has no room'):
    record_files.read_records(written(tmp_path, rows), check=check)
  found = record_files.read_records(skipping(tmp_path, rows), check=check)
  assert [r['id'] for r in found] == ['scene-0', 'scene-2']


def test_many_faults_are_counted(tmp_path):
  source = written(tmp_path, ['{'] * 12)
  with pytest.raises(ValueError, match='and 7 more$'):
    record_files.read_records(source)


def test_a_link_out_of_the_folder_is_refused(tmp_path):
  inside = tmp_path / 'inside'
  inside.mkdir()
  source = written(inside, [line(0, img_path='link.png')])
  (tmp_path / 'b.png').write_bytes((inside / 'scene-0.png').read_bytes())
  (inside / 'link.png').symlink_to(tmp_path / 'b.png')
  with pytest.raises(ValueError, match='leaves'):
    record_files.read_records(source)


def test_files_without_records_are_refused(tmp_path):
  with pytest.raises(ValueError, match='there is no record'):
    record_files.read_records(written(tmp_path, []))
  with pytest.raises(ValueError, match='none.jsonl cannot be read'):
    record_files.read_records(
      record_files.Source(str(tmp_path / 'none.jsonl'), str(tmp_path))
    )


def test_codes_are_of_the_images_and_made_once(tmp_path, monkeypatch):
  monkeypatch.setattr(image_encoding, 'CHUNK', 2)
  source = written(tmp_path, [line(n) for n in range(5)])
  encoder, cache = Encoder(), tmp_path / 'cache'
  first = image_encoding.load_encoded(
    source, shape_world.SIZE, encoder, cache, 'a'
  )
  assert encoder.calls == 3
  wanted = [
    drawing.render(scene_sampler.sample_scene('eval', 0, n)).sum()
    for n in range(5)
  ]
  np.testing.assert_array_equal([r['codes'][0] for r in first], wanted)
  again = image_encoding.load_encoded(
    source, shape_world.SIZE, encoder, cache, 'a'
  )
  assert encoder.calls == 3
  np.testing.assert_array_equal(
    [r['codes'] for r in again], [r['codes'] for r in first]
  )


def test_another_image_or_tokenizer_is_encoded_anew(tmp_path):
  source = written(tmp_path, [line(0)])
  encoder, cache = Encoder(), tmp_path / 'cache'
  image_encoding.load_encoded(source, shape_world.SIZE, encoder, cache, 'a')
  image_encoding.load_encoded(source, shape_world.SIZE, encoder, cache, 'b')
  assert encoder.calls == 2
  white = np.full((64, 64, 3), 255, np.uint8)
  Image.fromarray(white).save(tmp_path / 'scene-0.png')
  found = image_encoding.load_encoded(
    source, shape_world.SIZE, encoder, cache, 'a'
  )
  assert found[0]['codes'][0] == white.sum()


def test_codes_of_pixels_that_were_prepared_otherwise_are_not_reused(
  tmp_path, monkeypatch
):
  source = written(tmp_path, [line(0)])
  encoder, cache = Encoder(), tmp_path / 'cache'
  image_encoding.load_encoded(source, shape_world.SIZE, encoder, cache, 'a')
  monkeypatch.setattr(image_reader, 'VERSION', image_reader.VERSION + 1)
  image_encoding.load_encoded(source, shape_world.SIZE, encoder, cache, 'a')
  assert encoder.calls == 2


def skipping(root, rows):
  return dataclasses.replace(written(root, rows), on_error='skip')


def test_faults_are_skipped_where_asked_and_said(tmp_path):
  source = skipping(tmp_path, [line(0), '{', line(0), line(1, caption='')])
  said = []
  assert [r['id'] for r in record_files.read_records(source, said.append)] == [
    'scene-0'
  ]
  assert said[0].endswith(': 3 of 4 left out:') and len(said) == 4
  assert said[1].startswith('  line 2: ')
  assert said[2] == "  line 3: id 'scene-0' comes twice"
  with pytest.raises(ValueError, match='line 1'):
    record_files.read_records(skipping(tmp_path, ['{']))
  with pytest.raises(ValueError, match='on_error'):
    record_files.Source('a', 'b', on_error='ignore')


def test_images_that_cannot_be_read_are_skipped_where_asked(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(image_encoding, 'CHUNK', 1)
  source = skipping(tmp_path, [line(n) for n in range(3)])
  (tmp_path / 'scene-1.png').write_bytes(b'no picture')
  encoder, cache = Encoder(), tmp_path / 'cache'
  for _ in range(2):  # The second time from the cache.
    said = []
    found = image_encoding.load_encoded(
      source, shape_world.SIZE, encoder, cache, 'a', said.append
    )
    assert [r['id'] for r in found] == ['scene-0', 'scene-2']
    for row, n in zip(found, (0, 2)):
      assert (
        row['codes']
        == drawing.render(scene_sampler.sample_scene('eval', 0, n)).sum()
      )
    assert said[0].endswith(': 1 of 3 left out:') and len(said) == 2
    assert said[1].startswith("  id 'scene-1': ")
  next(cache.iterdir()).write_bytes(b'PK torn')
  again = image_encoding.load_encoded(
    source, shape_world.SIZE, encoder, cache, 'a'
  )
  assert [r['id'] for r in again] == ['scene-0', 'scene-2']
  raising = dataclasses.replace(source, on_error='raise')
  with pytest.raises(ValueError, match='scene-1.png cannot be read'):
    image_encoding.load_encoded(
      raising, shape_world.SIZE, encoder, tmp_path / 'other', 'a'
    )
  for n in (0, 2):
    (tmp_path / f'scene-{n}.png').write_bytes(b'no picture')
  with pytest.raises(ValueError, match='scene-0'):
    image_encoding.load_encoded(source, shape_world.SIZE, encoder, cache, 'a')


def test_an_image_that_can_be_read_again_is_taken_again(tmp_path, monkeypatch):
  source, load = (
    skipping(tmp_path, [line(0), line(1)]),
    image_reader.load_image,
  )
  cache = tmp_path / 'cache'

  def fails(path, size):
    if path.name == 'scene-1.png':
      raise ValueError('the disk does not answer')
    return load(path, size)

  monkeypatch.setattr(image_reader, 'load_image', fails)
  assert (
    len(
      image_encoding.load_encoded(
        source, shape_world.SIZE, Encoder(), cache, 'a'
      )
    )
    == 1
  )
  monkeypatch.setattr(image_reader, 'load_image', load)
  found = image_encoding.load_encoded(
    source, shape_world.SIZE, Encoder(), cache, 'a'
  )
  assert [r['id'] for r in found] == ['scene-0', 'scene-1']


def test_no_more_is_encoded_than_wanted(tmp_path):
  source = written(tmp_path, [line(n) for n in range(4)])
  (tmp_path / 'scene-3.png').write_bytes(b'no picture')
  found = image_encoding.load_encoded(
    source, shape_world.SIZE, Encoder(), tmp_path / 'cache', 'a', most=2
  )
  assert [r['id'] for r in found] == ['scene-0', 'scene-1']


def carried(bucket, root, source):
  """The same source in a bucket."""
  bucket.put_folder('data', root)
  name = source.annotations.rpartition('/')[2]
  return dataclasses.replace(
    source, annotations=f'gs://bucket/data/{name}', images='gs://bucket/data'
  )


def test_a_bucket_has_the_records_of_a_folder(bucket, tmp_path):
  local = written(tmp_path, [line(n) for n in range(3)])
  source, encoder = carried(bucket, tmp_path, local), Encoder()
  cache = storage.path('gs://bucket/run/data')
  wanted = image_encoding.load_encoded(
    local, shape_world.SIZE, Encoder(), tmp_path / 'cache', 'a'
  )
  for _ in range(2):
    found = image_encoding.load_encoded(
      source, shape_world.SIZE, encoder, cache, 'a'
    )
    assert [r['id'] for r in found] == [r['id'] for r in wanted]
    for a, b in zip(found, wanted):
      np.testing.assert_array_equal(a['codes'], b['codes'])
  assert encoder.calls == 1
  # Another image under the same name is no image of before.
  bucket.put('data/scene-0.png', bucket.blobs['data/scene-1.png'].data)
  image_encoding.load_encoded(source, shape_world.SIZE, encoder, cache, 'a')
  assert encoder.calls == 2
  assert list(record_files.file_hashes(source).values()) == list(
    record_files.file_hashes(local).values()
  )


@pytest.mark.parametrize(
  'path, said',
  [
    ('none.png', 'there is no image gs://bucket/data/none.png'),
    ('../scene-0.png', "'../scene-0.png' leaves gs://bucket/data"),
    ('/scene-0.png', "'/scene-0.png' leaves gs://bucket/data"),
  ],
)
def test_paths_that_leave_a_bucket_s_folder_are_refused(
  bucket, tmp_path, path, said
):
  local = written(tmp_path, [line(0), line(1, img_path=path)])
  bucket.put('scene-0.png', b'')
  with pytest.raises(ValueError, match='line 2: .*' + said):
    record_files.read_records(carried(bucket, tmp_path, local))


def test_an_image_of_a_bucket_that_is_none_is_named(bucket, tmp_path):
  source = carried(bucket, tmp_path, written(tmp_path, [line(0)]))
  bucket.put('data/scene-0.png', b'no picture')
  with pytest.raises(
    ValueError, match='image gs://bucket/data/scene-0.png cannot be read'
  ):
    image_encoding.load_encoded(
      source, shape_world.SIZE, Encoder(), tmp_path / 'cache', 'a'
    )
