"""GQA: compositional questions with one right answer (arXiv 1902.09506)."""

import json
import string

from hermesflow_jax.benchmarks import benchmark_files
from hermesflow_jax.benchmarks import percent_scores
from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.data import image_folder
from hermesflow_jax.runtime import storage

_PUNCTUATION = str.maketrans('', '', string.punctuation)


def official(reply: str) -> str:
  """Returns a reply as LLaVA hands it to the official script."""
  return reply.rstrip('.').lower()


def _without_punctuation(text):
  """Returns a text as lmms-eval compares it."""
  return text.lower().translate(_PUNCTUATION)


class Gqa(protocol.UnderstandingBenchmark):
  """GQA; the headline is the accuracy in percent."""

  name = 'gqa'
  title = 'GQA'
  protocol = (
    'Question and "Answer the question using a single word or phrase."; greedy;'
    ' lower case, no final dot; equal to the answer, in percent.'
  )

  def read(self, files):
    """Reads a questions file.

    Args:
      files: `path` is e.g. `testdev_balanced_questions.json`, or a folder with
        it; `images` is the folder of GQA's images.

    Raises:
      ValueError: see the protocol.
    """
    path = storage.path(files.path)
    if path.is_dir():
      path = path / 'testdev_balanced_questions.json'
    questions = benchmark_files.read_json(path)
    if not isinstance(questions, dict) or not questions:
      raise ValueError(f'{path} must be an object with a question for each id')
    folder = image_folder.ImageFolder(files.images or str(path.parent))
    rows, faults = [], []
    for name, value in questions.items():
      try:
        rows.append(_question(name, value, folder, files.suffix))
      except ValueError as error:
        faults.append(f'question {name}: {error}')
    return benchmark_files.checked_rows(rows, 'official', faults, files, path)

  def score(self, rows, replies):
    """See the protocol; `values` has the accuracy of binary and open ones."""
    rules = {
      'official': lambda reply, answer: official(reply) == answer,
      'lmms-eval': lambda reply, answer: (
        _without_punctuation(reply) == _without_punctuation(answer)
      ),
    }
    return [
      _scores(rule, rows, replies, equal) for rule, equal in rules.items()
    ]

  def prediction_files(self, rows, replies):
    """See the protocol: the list that the official script reads."""
    values = [
      {'questionId': row.id, 'prediction': official(replies.get(row.id, ''))}
      for row in rows
    ]
    return {'testdev_balanced_predictions.json': json.dumps(values) + '\n'}


def _scores(rule, rows, replies, equal) -> protocol.Scores:
  right = {
    row.id: float(equal(replies.get(row.id, ''), row.reference['answer']))
    for row in rows
  }
  kinds = {row.id: row.reference['kind'] for row in rows}
  return percent_scores.of_rows(rule, 'accuracy', right, kinds)


def _question(name, value, folder, suffix):
  """Returns a question.

  Raises:
    ValueError: a field is missing, or the image does not exist.
  """
  benchmark_files.check_fields(
    value, {'imageId': str, 'question': str, 'answer': str}
  )
  types = value.get('types')
  structure = types.get('structural') if isinstance(types, dict) else None
  return protocol.ImageQuestion(
    name,
    folder.find(f'{value["imageId"]}.jpg', 'image'),
    value['question'] + (protocol.SHORT_ANSWER if suffix is None else suffix),
    {
      'answer': value['answer'],
      'question': value['question'],
      'kind': 'open' if structure == 'query' else 'binary',
    },
  )
