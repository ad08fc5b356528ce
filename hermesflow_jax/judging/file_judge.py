"""A judge whose answers are in files, e.g. of people."""

from collections.abc import Callable
from collections.abc import Sequence
import pathlib

import numpy as np

from hermesflow_jax.judging import question_files
from hermesflow_jax.judging import question_prompts
from hermesflow_jax.judging import usage
from hermesflow_jax.runtime import storage
from hermesflow_jax.sequences import text_similarity

# Images that are decoded at once.
BLOCK = 256


class FileJudge:
  """Looks answers up by image and question; a `gap.Judge`.

  Questions without an answer are written into a folder, and the job ends. The
  same command continues when the answers are there.

  Args:
    answers: from `question_files.read_answers`.
    source: file or folder of these, for the error.
    decode: codes int32[N, I] -> uint8[N, H, W, 3].
    matcher: maps an answer to the nearest choice.
    folder: folder for questions without an answer.
  """

  def __init__(
    self,
    answers: dict[str, str],
    source: str,
    decode: Callable[[np.ndarray], np.ndarray],
    matcher: text_similarity.Matcher,
    folder: pathlib.PurePath,
  ):
    self._answers, self._source = answers, source
    self._decode, self._matcher = decode, matcher
    self._folder = folder
    self.usage = usage.Usage()

  def __call__(
    self, codes: np.ndarray, questions: Sequence[Sequence[dict]]
  ) -> list[list[str]]:
    """Answers the questions about each image; see `gap.Judge`.

    Raises:
      ValueError: an answer is missing.
    """
    replies, open_questions = [], []
    for begin in range(0, len(questions), BLOCK):
      span = slice(begin, begin + BLOCK)
      images = self._decode(codes[span])
      rows = question_files.rows(images, questions[span])
      missing = [
        [row for row in records if row['id'] not in self._answers]
        for records in rows
      ]
      question_files.write_images(self._folder, images, missing)
      open_questions += [row for records in missing for row in records]
      replies += [self._answers.get(r['id'], '') for rs in rows for r in rs]
    if open_questions:
      path = question_files.write_questions(self._folder, open_questions)
      raise ValueError(
        f'judge.answers must have an answer to every question, got none to '
        f'{len(open_questions)} of {len(replies)} in {self._source}; answer '
        f'{path} there, and run the same command again'
      )
    return self._match(replies, questions)

  def _match(self, replies, questions):
    flat = [question for row in questions for question in row]
    numbers = question_prompts.choose(self._matcher, replies, flat)
    self.usage += usage.Usage(len(flat), numbers.count(None))
    texts = iter(
      '' if number is None else question['choices'][number]
      for number, question in zip(numbers, flat, strict=True)
    )
    return [[next(texts) for _ in row] for row in questions]


def make(
  answers: str,
  decode: Callable[[np.ndarray], np.ndarray],
  matcher: text_similarity.Matcher,
  folder: pathlib.PurePath,
) -> FileJudge:
  """Returns the judge; all processes call it.

  Args:
    answers: the setting `answers`.
    decode: see `FileJudge`.
    matcher: see `FileJudge`.
    folder: see `FileJudge`.

  Raises:
    ValueError: a file has faults, which are named.
  """
  source = str(storage.path(answers))
  records = question_files.read_answers(answers, 'judge.answers')
  return FileJudge(records, source, decode, matcher, folder)
