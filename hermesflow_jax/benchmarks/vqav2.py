"""VQAv2: open questions with ten human answers each (arXiv 1612.00837)."""

import json

from hermesflow_jax.benchmarks import benchmark_files
from hermesflow_jax.benchmarks import percent_scores
from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.benchmarks import vqa_words
from hermesflow_jax.data import image_folder
from hermesflow_jax.runtime import storage

_FORM = (
  'a folder with one *questions.json and one *annotations.json of VQAv2, or '
  'the questions file alone for a test split'
)


class VqaV2(protocol.UnderstandingBenchmark):
  """VQAv2; the headline is the accuracy in percent."""

  name = 'vqav2'
  title = 'VQAv2'
  protocol = (
    'Question and "Answer the question using a single word or phrase."; greedy;'
    ' mean over ten people of min(1, equal answers of the others / 3), in '
    'percent.'
  )

  def read(self, files):
    """Reads questions and annotations.

    Args:
      files: `path` is a folder with both files, or the questions file; without
        annotations (a test split) there is no score, only a file to submit.
        `images` is the folder of COCO images.

    Raises:
      ValueError: see the protocol.
    """
    path = storage.path(files.path)
    questions, annotations = _locate(path)
    content = benchmark_files.read_object(questions, 'questions', list)
    answers = {}
    if annotations is not None:
      values = benchmark_files.read_object(annotations, 'annotations', list)
      answers = {
        a.get('question_id'): a
        for a in values['annotations']
        if isinstance(a, dict) and isinstance(a.get('question_id'), int)
      }
    folder = image_folder.ImageFolder(files.images or str(questions.parent))
    rows, faults, seen = [], [], set()
    for number, value in enumerate(content['questions'], 1):
      try:
        row = _question(value, answers, content, folder, files.suffix)
        if row.id in seen:
          raise ValueError(f'duplicate question_id {row.id}')
        if annotations is not None and 'answers' not in row.reference:
          raise ValueError(f'question_id {row.id} has no annotation')
      except ValueError as error:
        faults.append(f'question {number}: {error}')
        continue
      seen.add(row.id)
      rows.append(row)
    notes = ()
    if annotations is None:
      notes = ('no annotations: only the file to submit is written',)
    return benchmark_files.checked_rows(
      rows, 'official', faults, files, path, notes
    )

  def score(self, rows, replies):
    """See the protocol; `values` has the accuracy by type of the answer."""
    if not all('answers' in row.reference for row in rows):
      return []
    return [
      _scores(rule, always, rows, replies)
      for rule, always in (('official', False), ('lmms-eval', True))
    ]

  def prediction_files(self, rows, replies):
    """See the protocol: the list that the server takes."""
    values = [
      {
        'question_id': row.reference['question_id'],
        'answer': vqa_words.trim(replies.get(row.id, '')),
      }
      for row in rows
    ]
    return {'vqav2_results.json': json.dumps(values) + '\n'}


def _scores(rule, always, rows, replies) -> protocol.Scores:
  shares = {
    row.id: vqa_words.accuracy(
      replies.get(row.id, ''), row.reference['answers'], always
    )
    for row in rows
  }
  types = {row.id: row.reference['answer_type'] for row in rows}
  return percent_scores.of_rows(rule, 'overall', shares, types)


def _locate(path):
  """Returns (questions file, annotations file or None).

  Raises:
    ValueError: the folder does not have exactly one of each.
  """
  if path.is_file():
    return path, None
  if not path.is_dir():
    raise ValueError(f'path of vqav2 must be {_FORM}, got {path}')
  names = storage.list_names(path)
  questions = sorted(n for n in names if n.endswith('questions.json'))
  annotations = sorted(n for n in names if n.endswith('annotations.json'))
  if len(questions) != 1 or len(annotations) > 1:
    raise ValueError(
      f'path of vqav2 must be {_FORM}, got {path} with '
      f'{", ".join(questions + annotations) or "neither"}'
    )
  return path / questions[0], (path / annotations[0] if annotations else None)


def _question(value, answers, content, folder, suffix):
  """Returns a question.

  Raises:
    ValueError: a field is missing, or the image does not exist.
  """
  benchmark_files.check_fields(
    value, {'question_id': int, 'image_id': int, 'question': str}
  )
  reference = {
    'question_id': value['question_id'],
    'image_id': value['image_id'],
    'question': value['question'],
  }
  annotation = answers.get(value['question_id'])
  if annotation is not None:
    benchmark_files.check_fields(
      annotation, {'answers': list, 'answer_type': str}
    )
    for answer in annotation['answers']:
      benchmark_files.check_fields(answer, {'answer': str})
    if not annotation['answers']:
      raise ValueError('answers must not be empty, got []')
    reference['answers'] = annotation['answers']
    reference['answer_type'] = annotation['answer_type']
  return protocol.ImageQuestion(
    str(value['question_id']),
    benchmark_files.coco_image(
      folder, value['image_id'], str(content.get('data_subtype', ''))
    ),
    value['question'] + (protocol.SHORT_ANSWER if suffix is None else suffix),
    reference,
  )
