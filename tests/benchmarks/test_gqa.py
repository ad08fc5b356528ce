"""GQA: exact match as the official script and lmms-eval compare."""

import json

import pytest

from hermesflow_jax.benchmarks import gqa
from hermesflow_jax.benchmarks import protocol


@pytest.fixture
def path(tmp_path):
  questions = {
    '1': ('n1', 'Is it red?', 'yes', 'verify'),
    '2': ('n1', 'What is it?', 't-shirt', 'query'),
    '3': ('n2', 'Is it this or that?', 'left', 'choose'),
  }
  values = {
    name: {
      'imageId': image,
      'question': question,
      'answer': answer,
      'isBalanced': True,
      'types': {'structural': kind},
    }
    for name, (image, question, answer, kind) in questions.items()
  }
  file = tmp_path / 'testdev_balanced_questions.json'
  file.write_text(json.dumps(values))
  for image in ('n1', 'n2'):
    (tmp_path / f'{image}.jpg').write_bytes(b'')
  return file


def read(path, **options):
  return gqa.Gqa().read(protocol.BenchmarkFiles(str(path), **options))


def test_two_rules_compare_punctuation_differently(path):
  rows = read(path.parent).rows
  replies = {'1': 'Yes.', '2': 'T shirt', '3': 'left!'}
  official, harness = gqa.Gqa().score(rows, replies)
  assert official.values == {
    'accuracy': pytest.approx(100 / 3),
    'binary': 50,
    'open': 0,
  }
  assert harness.headline == pytest.approx(200 / 3)
  (text,) = gqa.Gqa().prediction_files(rows, replies).values()
  assert json.loads(text)[0] == {'questionId': '1', 'prediction': 'yes'}


def test_faults_are_named_together(path):
  values = json.loads(path.read_text())
  del values['1']['answer']
  values['3']['imageId'] = 'n9'
  path.write_text(json.dumps(values))
  with pytest.raises(
    ValueError, match="question 1: 'answer' is missing; question 3: there is no"
  ):
    read(path)
  left = read(path, on_error='skip')
  assert [row.id for row in left.rows] == ['2']
