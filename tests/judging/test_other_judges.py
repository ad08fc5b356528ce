"""Judges of files, of another model and of the user; questions for people."""

import json

import numpy as np
from PIL import Image
import pytest

from hermesflow_jax.judging import file_judge
from hermesflow_jax.judging import imported_judge
from hermesflow_jax.judging import model_judge
from hermesflow_jax.judging import question_files
from hermesflow_jax.sequences import text_similarity

QUESTIONS = [
  [
    {
      'question': 'what color ?',
      'choices': ['red', 'blue'],
      'answer': 'red',
      'element_type': 'color',
    }
  ],
  [
    {'question': 'is it ?', 'choices': ['yes', 'no'], 'answer': 'no'},
    {'question': 'how many ?', 'choices': ['1', '2'], 'answer': '2'},
  ],
]
CODES = np.array([[3], [4]], np.int32)


def decode(codes):
  """Images of 4 x 4 pixels in the grey of their code."""
  return np.broadcast_to(
    codes.astype(np.uint8)[:, :, None, None], (len(codes), 4, 4, 3)
  )


def of_files(answers, folder):
  return file_judge.make(
    str(answers), decode, text_similarity.nearest_choices, folder
  )


def test_questions_without_an_answer_are_written_and_then_read(tmp_path):
  answers = tmp_path / 'answers.jsonl'
  answers.write_text('')
  with pytest.raises(ValueError, match='none to 3 of 3 in .*answers.jsonl; an'):
    of_files(answers, tmp_path / 'open')(CODES, QUESTIONS)
  text = (tmp_path / 'open' / 'questions.jsonl').read_text()
  rows = [json.loads(line) for line in text.splitlines()]
  assert [row['question'] for row in rows] == [
    q['question'] for row in QUESTIONS for q in row
  ]
  for row in rows:
    assert row.keys() == {'id', 'image', 'question', 'choices'}
  picture = np.asarray(Image.open(tmp_path / 'open' / rows[1]['image']))
  np.testing.assert_array_equal(picture, decode(CODES)[1])
  replies = ['Blue', 'zzz', '2']
  answers.write_text(
    ''.join(
      json.dumps({'id': row['id'], 'answer': reply}) + '\n'
      for row, reply in zip(rows, replies)
    )
  )
  judge = of_files(tmp_path, tmp_path / 'open')
  assert judge(CODES, QUESTIONS) == [['blue'], ['', '2']]
  assert (judge.usage.questions, judge.usage.unmatched) == (3, 1)
  # Images in another order, and alone, are the same images.
  assert judge(CODES[1:], QUESTIONS[1:]) == [['', '2']]


@pytest.mark.parametrize(
  'text, message',
  [
    ('{"id": "a"}', 'answer must be a text, got None'),
    ('{"answer": "a"}', 'id must be a text, got None'),
    ('[1]', 'an answer must be a JSON object'),
    ('{"id": "a", "answer": "x"}\n{"id": "a", "answer": "y"}', 'two answers'),
    ('{"id": "a", "answer": NaN}', 'NaN is not JSON'),
    ('{"id": "a", "answer": "\\u0000"}', 'control characters'),
    ('{"id": "a"\n{"id": "b", "answer": "x"}', '1 fault in'),
  ],
)
def test_every_fault_of_answers_is_named_in_one_line(tmp_path, text, message):
  file = tmp_path / 'answers.jsonl'
  file.write_text(text)
  with pytest.raises(ValueError) as error:
    question_files.read_answers(str(file), 'judge.answers')
  assert message in str(error.value) and '\n' not in str(error.value)
  assert str(error.value).startswith('judge.answers must ')


def test_a_folder_without_answers_is_named(tmp_path):
  with pytest.raises(ValueError, match='must hold answers in .*which has none'):
    question_files.read_answers(str(tmp_path), 'judge.answers')
  with pytest.raises(ValueError, match='does not exist'):
    question_files.read_answers(str(tmp_path / 'no'), 'judge.answers')


@pytest.mark.parametrize(
  'returned, message',
  [
    ([['a'], ['b']], 'got 2 answers about 2 images for 3 questions about 2'),
    ([['a'], ['b', 3]], 'got 3'),
    (None, 'got TypeError'),
    (['a', 'no'], 'got TypeError: a text in place of a list of texts'),
  ],
)
def test_answers_of_the_users_judge_are_checked(returned, message):
  judge = imported_judge.CheckedJudge('m:f', lambda *_: returned, decode)
  with pytest.raises(
    ValueError, match=f'judge.kind m:f must return.*{message}'
  ):
    judge(CODES, QUESTIONS)


def test_the_users_judge_sees_images():
  def function(images, questions):
    return [
      [q['choices'][image[0, 0, 0] % 2] for q in asked]
      for image, asked in zip(images, questions)
    ]

  judge = imported_judge.CheckedJudge('m:f', function, decode)
  assert judge(CODES, QUESTIONS) == [['blue'], ['yes', '1']]


@pytest.mark.parametrize('same_codes', [True, False])
def test_another_model_sees_the_codes_or_the_images_in_its_size(same_codes):
  import dataclasses

  seen = []

  @dataclasses.dataclass(frozen=True)
  class Model:
    vision = None
    grid = (2, 2)

    class tokenizer:
      reduction = 4

    def encode(self, images):
      seen.append(images.shape)
      return images[:, 0, 0, :1].astype(np.int32)

    def answer(self, codes, questions):
      np.testing.assert_array_equal(codes, CODES)
      return [[q['choices'][0] for q in row] for row in questions]

  judge = model_judge.make(Model(), decode, same_codes)
  assert judge(CODES, QUESTIONS) == [['red'], ['yes', '1']]
  assert seen == [] if same_codes else [(2, 8, 8, 3)]
