"""Files that are damaged, wrong or dangerous: a line, or a count with 'skip'."""

import base64
import dataclasses
import gzip
import io
import json

from PIL import Image
import pyarrow as pa
from pyarrow import parquet
import pytest

from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.benchmarks import registry
from hermesflow_jax.jobs.setup import benchmark_sets
from hermesflow_jax.runtime import terminal


def png():
  file = io.BytesIO()
  Image.new('RGB', (20, 20), 'red').save(file, 'PNG')
  return file.getvalue()


PNG, BASE64 = png(), base64.b64encode(png()).decode()


def read(name, path, **options):
  """Returns (benchmark with its rows, output)."""
  files = protocol.BenchmarkFiles(str(path), **options)
  sources = dataclasses.replace(registry.Sources(), **{name: files})
  output = []
  console = terminal.Console(output.append, lambda label: lambda x: x)
  (entry,) = benchmark_sets.read((name,), sources, 0, console)
  return entry, output


def fault(name, path, **options):
  """Returns the single line of the error."""
  with pytest.raises(ValueError) as error:
    read(name, path, **options)
  text = str(error.value)
  assert '\n' not in text and len(text) < 3_000
  return text


def pope(root, content, **fields):
  """Writes POPE's files; the split `random` has this content."""
  line = {'question_id': 1, 'image': 'a.png', 'text': 'q', 'label': 'yes'}
  line = json.dumps(line | fields)
  (root / 'a.png').write_bytes(PNG)
  for split in ('popular', 'adversarial'):
    (root / f'coco_pope_{split}.json').write_text(line)
  content = line if content is None else content
  data = content if isinstance(content, bytes) else content.encode()
  (root / 'coco_pope_random.json').write_bytes(data)
  return root


POPE = {
  'empty': ('', 'must have records, got none'),
  'latin-1': (b'{"text": "caf\xe9"}\n', 'must be UTF-8'),
  'gz': (gzip.compress(b'{}'), 'must be UTF-8'),
  'NaN': ('{"question_id": NaN}', 'NaN is not JSON'),
  'long': ('x' * 10_000_000, 'line 1: Expecting value'),
}


@pytest.mark.parametrize('content, message', POPE.values(), ids=POPE)
def test_a_damaged_file_is_named(tmp_path, content, message):
  text = fault('pope', pope(tmp_path, content))
  assert message in text and 'coco_pope_random.json' in text


FIELDS = {
  'text': (['a'], 'text must be a text'),
  'image': ('../../a.png', 'leaves'),
  'question_id': ({}, "'question_id' must be a number or text"),
}


@pytest.mark.parametrize('name', FIELDS)
def test_a_field_of_another_type_is_named(tmp_path, name):
  value, message = FIELDS[name]
  assert message in fault('pope', pope(tmp_path, None, **{name: value}))


@pytest.mark.parametrize('text', ['a \x00', 'a \ud800'])
def test_a_prompt_that_no_tokenizer_reads_is_named(tmp_path, text):
  assert 'prompt must' in fault('pope', pope(tmp_path, None, text=text))


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
  pope(tmp_path, None)
  (tmp_path / 'coco_pope_random.json').unlink()
  (tmp_path / 'coco_pope_random.json').mkdir()
  assert 'directory' in fault('pope', tmp_path)


def test_two_files_of_a_split_are_refused(tmp_path):
  pope(tmp_path, None)
  (tmp_path / 'aokvqa_pope_random.json').write_text('{}')
  assert 'must have a file for each split' in fault('pope', tmp_path)


def test_a_byte_order_mark_and_other_line_ends_change_nothing(tmp_path):
  line = json.dumps(
    {'question_id': 1, 'image': 'a.png', 'text': 'q', 'label': 'no'}
  )
  content = b'\xef\xbb\xbf' + line.encode() + b'\r\n'
  entry, _ = read('pope', pope(tmp_path, content))
  assert [row.prompt[0] for row in entry.rows] == ['q'] * 3


def test_images_that_do_not_decode_are_counted(tmp_path):
  pope(tmp_path, None)
  (tmp_path / 'b.png').write_bytes(PNG[:60])
  line = {'question_id': 2, 'image': 'b.png', 'text': 'q', 'label': 'no'}
  (tmp_path / 'coco_pope_random.json').write_text(json.dumps(line))
  assert 'truncated' in fault('pope', tmp_path)
  entry, output = read('pope', tmp_path, on_error='skip')
  assert len(entry.rows) == 2 and '1 fault left out' in output[0]


HEADER = 'index\timage\tquestion\tanswer\tcategory'
TABLES = {
  'empty': ('', 'must have rows'),
  'twice': ([f'0\t{BASE64}\tq\tYes\trandom'] * 2, 'index 0 must occur once'),
  'cut': ([f'0\t{BASE64}'], 'must have 5 cells, got 2'),
  'another': ([f'0\t{BASE64}\tq\tYes\tcount'], 'category must name splits'),
  'base64': (['0\t' + '!' * 80 + '\tq\tYes\trandom'], 'an empty file'),
  'half': ([f'0\t{BASE64[:80]}\tq\tYes\trandom'], 'cannot be read'),
}


@pytest.mark.parametrize('rows, message', TABLES.values(), ids=TABLES)
def test_a_damaged_table_is_named(tmp_path, rows, message):
  path = tmp_path / 'POPE.tsv'
  path.write_text('\n'.join([HEADER, *rows]) if rows else '')
  assert message in fault('pope', path)


def test_a_table_with_doubled_line_ends_is_read(tmp_path):
  path = tmp_path / 'POPE.tsv'
  rows = [HEADER, f'0\t{BASE64}\tq\tYes\trandom', '1\t0\tq\tNo\tpopular', '']
  path.write_bytes('\r\r\n'.join(rows).encode())
  assert len(read('pope', path)[0].rows) == 2


CAPTIONS = {'images': [{'id': 1}], 'annotations': [{'image_id': 1}]}
QUESTION = {'question_id': 1, 'image_id': 1, 'question': 'q'}
OTHERS = {
  'captions as VQAv2': (
    'vqav2',
    {'captions_val2014.json': CAPTIONS},
    'with neither',
  ),
  'captions as annotations': (
    'vqav2',
    {
      'a_questions.json': {'questions': [QUESTION]},
      'b_annotations.json': CAPTIONS,
    },
    'question_id 1 has no annotation',
  ),
  'ids of another type': (
    'vqav2',
    {
      'a_questions.json': {'questions': [QUESTION]},
      'b_annotations.json': {'annotations': [{'question_id': [1]}]},
    },
    'question_id 1 has no annotation',
  ),
  'no questions': (
    'vqav2',
    {'a_questions.json': {'questions': []}},
    'must have rows of VQAv2, got none',
  ),
  'GenEval 2 as GenEval': (
    'geneval',
    {'evaluation_metadata.jsonl': {'prompt': 'a', 'vqa_list': []}},
    "'tag' is missing",
  ),
}


@pytest.mark.parametrize('name, files, message', OTHERS.values(), ids=OTHERS)
def test_files_of_another_benchmark_are_refused(tmp_path, name, files, message):
  for file, value in files.items():
    (tmp_path / file).write_text(json.dumps(value))
  (tmp_path / '1.jpg').write_bytes(PNG)
  assert message in fault(name, tmp_path)


PARQUET = {
  'no images': ({'image_1': None}, "images in a column 'image_1'"),
  'names of images': ({'image_1': 'x.png'}, "images in a column 'image_1'"),
  'no image': ({'image_1': {'bytes': b'', 'path': ''}}, 'an empty file'),
  'code': ({'options': "__import__('os')"}, 'options must be a list'),
  'answer': ({'answer': 'Z'}, "answer must be among AB, got 'Z'"),
  'question': ({'question': None}, 'question must be a text, got None'),
}


@pytest.mark.parametrize('fields, message', PARQUET.values(), ids=PARQUET)
def test_a_damaged_parquet_file_is_named(tmp_path, fields, message):
  record = {
    'id': 'validation_Art_1',
    'question': 'q',
    'options': "['a', 'b']",
    'answer': 'A',
    'question_type': 'multiple-choice',
    'image_1': {'bytes': PNG, 'path': ''},
  } | fields
  if record['image_1'] is None:
    del record['image_1']
  table = pa.table({name: [value] for name, value in record.items()})
  parquet.write_table(table, tmp_path / 'validation-0.parquet')
  assert message in fault('mmmu', tmp_path)


DPG = (
  'item_id,text,proposition_id,dependency,tuple,question_natural_language\n'
  '{},a dog,1,0,entity - whole (dog),Is there a dog?\n'
)


@pytest.mark.parametrize('name', ['../../x', '/x', 'a.b'])
def test_no_id_of_dpg_names_a_file_elsewhere(tmp_path, name):
  (tmp_path / 'dpg_bench.csv').write_text(DPG.format(name))
  assert 'no dots or slashes' in fault('dpg', tmp_path)


def test_drawings_stay_in_their_folder(tmp_path):
  path = tmp_path / 'x.csv'
  path.write_text('image_id,caption\n../../y,a dog\n2,a cat\n')
  assert 'must stay in its folder' in fault('coco', path)
  entry, _ = read('coco', path, on_error='skip')
  assert [row.id for row in entry.rows] == ['2']


def test_an_image_twice_is_a_fault(tmp_path):
  (tmp_path / '1.jpg').write_bytes(PNG)
  image = {'filename': '1.jpg', 'split': 'test', 'sentences': [{'raw': 'a'}]}
  path = tmp_path / 'dataset_flickr30k.json'
  path.write_text(json.dumps({'images': [image, image]}))
  assert '1.jpg: its id must occur once' in fault('flickr30k', path)


def test_rows_of_an_image_of_mme_stay_together():
  """Else every image would have all of its answers right or none."""
  files = registry.Sources(mme=protocol.BenchmarkFiles('shapes'))
  (entry,) = benchmark_sets.read(('mme',), files, 6, terminal.silent())
  names = [str(row.image) for row in entry.rows]
  assert len(names) == 6 and names[::2] == names[1::2]
  assert len(set(names)) == 3
