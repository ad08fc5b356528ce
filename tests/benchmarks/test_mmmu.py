"""MMMU: replies parsed as by the official script, and its files."""

import base64
import io
import json
import random

from PIL import Image
import pyarrow as pa
from pyarrow import parquet
import pytest

from hermesflow_jax.benchmarks import mmmu
from hermesflow_jax.benchmarks import mmmu_replies
from hermesflow_jax.benchmarks import protocol

OPTIONS = {'A': 'a red cat', 'B': 'Paris', 'C': '12', 'D': 'None of these'}

# What the official script makes of a reply; None: it draws an option.
CHOICES = {
  'B': 'B',
  'B.': 'B',
  '(C)': 'C',
  'The answer is (A), not (D)': 'D',
  'A or B': 'B',
  'b': None,
  'paris': None,
  'I believe that it is Paris, not a red cat': 'A',
  'It must be paris because of the tower': 'B',
  '': None,
  'AB': None,
}
VALUES = {
  '3.456': {3.46},
  # The script reads the end of a number with commas again.
  'The answer is 1,200': {1200.0, 200.0},
  'x = 5': {5.0},
  'Paris': {'paris'},
  'a': {' a', 'a '},
  'So it is 12 cm': {'12 cm', 12.0},
  'first\nthe result 1e5': {100000.0, 5.0},
  '': {''},
}


@pytest.mark.parametrize('reply, expected', CHOICES.items())
def test_options_are_read_as_the_official_script_does(reply, expected):
  letter, drawn = mmmu_replies.choice(reply, OPTIONS, random.Random(42))
  assert drawn == (expected is None)
  assert letter == (expected or 'A')


@pytest.mark.parametrize('reply, expected', VALUES.items())
def test_open_replies_have_the_official_values(reply, expected):
  assert mmmu_replies.values(reply) == expected


def test_open_answers_are_parts_of_texts_or_equal_numbers():
  assert mmmu_replies.is_right({'the red cat'}, ['cat'])
  assert not mmmu_replies.is_right({'cat'}, ['the cat'])
  assert mmmu_replies.is_right({3.46}, ['3.4567', 'x'])
  assert not mmmu_replies.is_right({'3.46 cm'}, ['3.46'])
  # A single letter is found only between other words.
  assert not mmmu_replies.is_right({'cat'}, ['a'])
  assert mmmu_replies.is_right({'it is a cat'}, ['a'])


def png():
  file = io.BytesIO()
  Image.new('RGB', (8, 8), 'red').save(file, 'PNG')
  return file.getvalue()


def record(name, **changes):
  return {
    'id': name,
    'question': 'What is in <image 1>?',
    'options': "['a cat', 'a dog']",
    'answer': 'B',
    'question_type': 'multiple-choice',
    'image_1': {'bytes': png(), 'path': 'x.png'},
    'image_2': None,
    **changes,
  }


def write(root, records):
  for subject, values in records.items():
    (root / subject).mkdir()
    image = pa.struct([('bytes', pa.binary()), ('path', pa.string())])
    kinds = {'image_1': image, 'image_2': image}
    names = list(values[0])
    columns = [
      pa.array([v[name] for v in values], kinds.get(name, pa.string()))
      for name in names
    ]
    parquet.write_table(
      pa.table(columns, names=names),
      root / subject / 'validation-00000-of-00001.parquet',
    )


def read(path, **options):
  return mmmu.Mmmu().read(protocol.BenchmarkFiles(str(path), **options))


@pytest.fixture
def release(tmp_path):
  write(
    tmp_path,
    {
      'Music': [record('validation_Music_1')],
      'Art': [
        record('validation_Art_1', image_2={'bytes': png(), 'path': 'y.png'}),
        record(
          'validation_Art_2',
          options='[]',
          answer="['12', '13']",
          question_type='open',
        ),
      ],
    },
  )
  return tmp_path


def test_the_release_is_read_in_the_order_of_the_script(release):
  content = read(release)
  assert [row.id for row in content.rows] == [
    'validation_Art_1',
    'validation_Art_2',
    'validation_Music_1',
  ]
  assert content.notes == (
    '1 questions have several images: the first is read',
  )
  first, second, _ = content.rows
  assert first.image.open().read() == png()
  assert first.prompt == (
    'What is in <image 1>?\n(A) a cat\n(B) a dog\n'
    "\nAnswer with the option's letter from the given choices directly."
  )
  assert second.prompt.endswith('single word or phrase.')
  assert second.reference['answer'] == ['12', '13']


def test_random_options_are_counted(release):
  rows = read(release).rows
  replies = {rows[0].id: 'who knows', rows[1].id: 'it is 13', rows[2].id: '(B)'}
  (scores,) = mmmu.Mmmu().score(rows, replies)
  assert scores.values['replies without an option'] == 50
  assert scores.values['subjects']['Music'] == 100
  assert '1 of 2 options' in scores.notes[0]
  files = mmmu.Mmmu().prediction_files(rows, replies)
  output = json.loads(files['Art/output.json'])
  assert output[0]['index2ans'] == {'A': 'a cat', 'B': 'a dog'}
  assert json.loads(files['total_val_output.json'])['validation_Music_1'] == 'B'


def test_faults_are_named_together(tmp_path):
  write(
    tmp_path,
    {
      'Art': [
        record('validation_Art_1', image_1=None),
        record('validation_Art_2', options='[no list'),
        record('validation_Art_3'),
      ]
    },
  )
  with pytest.raises(
    ValueError, match='Art_1: it has no image; .*Art_2: options must be a list'
  ):
    read(tmp_path)
  assert len(read(tmp_path, on_error='skip').rows) == 1
  with pytest.raises(ValueError, match='must be a folder with <Subject>'):
    read(tmp_path / 'none')


def test_a_damaged_parquet_file_is_one_line(release):
  path = release / 'Art' / 'validation-00000-of-00001.parquet'
  path.write_bytes(path.read_bytes()[:100])
  with pytest.raises(ValueError, match='cannot be read'):
    read(release)


def test_the_table_of_vlmevalkit_is_read(tmp_path):
  image = base64.b64encode(png()).decode()
  path = tmp_path / 'MMMU_DEV_VAL.tsv'
  lines = [
    'index\tid\timage\tquestion\tA\tB\tanswer\tcategory\tsplit',
    f'1\tdev_Art_1\t{image}\twhat ?\tx\ty\tA\tArt\tdev',
    f'2\tvalidation_Art_7\t{image}\twhat ?\tx\ty\tB\tArt\tvalidation',
  ]
  path.write_text('\n'.join(lines) + '\n')
  (row,) = read(path).rows
  assert row.id == 'validation_Art_7'
  assert row.reference['options'] == {'A': 'x', 'B': 'y'}
  assert row.image.open().read() == png()
  files = mmmu.Mmmu().prediction_files([row], {row.id: '(B)'})
  assert files['MMMU_DEV_VAL.tsv'].splitlines() == [
    'index\tquestion\tA\tB\tanswer\tcategory\tsplit\tprediction',
    '2\twhat ?\tx\ty\tB\tArt\tvalidation\t(B)',
  ]
