"""VQAv2: the numbers of the official script and of lmms-eval."""

import json

import pytest

from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.benchmarks import vqa_words
from hermesflow_jax.benchmarks import vqav2

# What the official script makes of an answer where people differ.
NORMAL_FORMS = {
  'The red ball.': 'red ball',
  '1,000 dogs': '1000 dogs',
  '3.5': '3.5',
  '5.': '5',
  'dont know': "don't know",
  'x-ray': 'x ray',
  'left/right': 'left right',
  'Two': '2',
  'None': '0',
  'A.M.': 'am',
  'e.g. this': 'eg this',
  '(b)': 'b',
  'U.S.A.': 'usa',
  "y'alld've": "y'all'd've",
  '10:30': '10:30',
  'no , thanks': 'no thanks',
  'what? no': 'what no',
  'tv\nset': 'tv set',
  'an apple': 'apple',
  '.5': '.5',
}

# Reply, answers of ten people, accuracy by the official script and lmms-eval.
ACCURACIES = [
  ('two', ['2'] * 4 + ['two'] * 3 + ['3'] * 3, 100, 100),
  ('2', ['two'] * 10, 0, 100),
  ('two', ['two'] * 10, 100, 100),
  ('red', ['red'] * 2 + ['blue'] * 8, 60, 60),
  ('Red.', ['red'] * 3 + ['dark red'] * 7, 90, 90),
  ('yes', ['yes'] + ['no'] * 9, 30, 30),
  ('a cat', ['cat'] * 10, 0, 100),
  ('the cat', ['cat'] * 9 + ['dog'], 100, 100),
]


@pytest.mark.parametrize('answer, expected', NORMAL_FORMS.items())
def test_answers_have_the_official_normal_form(answer, expected):
  assert vqa_words.normalize(vqa_words.trim(answer)) == expected


@pytest.mark.parametrize('reply, answers, official, harness', ACCURACIES)
def test_accuracies_are_those_of_both_scripts(
  reply, answers, official, harness
):
  people = [{'answer': a, 'answer_id': n} for n, a in enumerate(answers)]
  values = [
    100 * vqa_words.accuracy(reply, people, always) for always in (False, True)
  ]
  assert [round(v, 2) for v in values] == [official, harness]


@pytest.fixture
def folder(tmp_path):
  """Three questions in the official form, about two images."""
  questions = [
    {'question_id': 10 * image + n, 'image_id': image, 'question': 'what ?'}
    for image, n in ((1, 0), (1, 1), (2, 0))
  ]
  annotations = [
    {
      'question_id': question['question_id'],
      'answer_type': 'number' if n else 'other',
      'answers': [{'answer': 'two', 'answer_id': k} for k in range(10)],
    }
    for n, question in enumerate(questions)
  ]
  (tmp_path / 'v2_OpenEnded_mscoco_val2014_questions.json').write_text(
    json.dumps({'data_subtype': 'val2014', 'questions': questions})
  )
  (tmp_path / 'v2_mscoco_val2014_annotations.json').write_text(
    json.dumps({'annotations': annotations})
  )
  (tmp_path / 'COCO_val2014_000000000001.jpg').write_bytes(b'')
  (tmp_path / '2.png').write_bytes(b'')
  return tmp_path


def read(path, **options):
  return vqav2.VqaV2().read(protocol.BenchmarkFiles(str(path), **options))


def test_questions_and_annotations_are_joined(folder):
  rows = read(folder).rows
  assert [row.id for row in rows] == ['10', '11', '20']
  official, harness = vqav2.VqaV2().score(rows, {'10': 'two', '11': '2'})
  assert official.values == {
    'overall': pytest.approx(100 / 3),
    'number': 0,
    'other': 100,
  }
  assert harness.headline == pytest.approx(200 / 3)


def test_a_test_split_gives_a_file_to_submit(folder):
  (folder / 'v2_mscoco_val2014_annotations.json').unlink()
  content = read(folder)
  benchmark = vqav2.VqaV2()
  assert benchmark.score(content.rows, {}) == []
  (text,) = benchmark.prediction_files(content.rows, {'10': 'a\nb '}).values()
  assert json.loads(text) == [
    {'question_id': 10, 'answer': 'a b'},
    {'question_id': 11, 'answer': ''},
    {'question_id': 20, 'answer': ''},
  ]


def test_faults_are_named_together(folder):
  (folder / '2.png').unlink()
  path = folder / 'v2_mscoco_val2014_annotations.json'
  values = json.loads(path.read_text())
  del values['annotations'][1]
  values['annotations'][0]['answers'] = []
  path.write_text(json.dumps(values))
  with pytest.raises(ValueError) as error:
    read(folder)
  for part in (
    'question 1: answers must not be empty',
    'question 2: question_id 11 has no annotation',
    'question 3: there is no image',
  ):
    assert part in str(error.value)


def test_other_folders_are_refused(folder, tmp_path):
  with pytest.raises(ValueError, match='must be a folder with one'):
    read(tmp_path / 'none')
  (folder / 'more_questions.json').write_text('{}')
  with pytest.raises(ValueError, match='more_questions.json'):
    read(folder)
