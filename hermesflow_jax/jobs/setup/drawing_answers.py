"""Answers to the questions of benchmarks about drawings and real images."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses

import numpy as np

from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.data import image_reader
from hermesflow_jax.jobs.setup import vision_tower
from hermesflow_jax.judging import model_judge
from hermesflow_jax.sampling import unified_model


@dataclasses.dataclass(frozen=True)
class DrawingAnswers:
  """A judge, and the model whose drawings it judges.

  Attributes:
    unified: the model.
    judge: answers questions about drawings, see `gap.Judge`.
    reads_rows: whether the judge reads rows as the model does, in which a long
      question does not fit.
  """

  unified: unified_model.UnifiedModel
  judge: Callable
  reads_rows: bool

  def records(
    self,
    benchmark: protocol.DrawingBenchmark,
    rows: Sequence[protocol.DrawingPrompt],
    codes: np.ndarray,
  ) -> list[dict]:
    """Answers the questions about drawings.

    Args:
      benchmark: benchmark of the questions.
      rows: N rows, a row for each drawing.
      codes: int32[N, I], drawings.

    Returns:
      N records: `answers` of the judge by id; `probabilities` of right answers
      where the judge is a model and the benchmark has written forms; `real` and
      `own`, answers of the model about real image and drawing, where a row has
      a real image. A question that does not fit has the answer ''.
    """
    questions = [[dict(q) for q in row.questions] for row in rows]
    records = [{'answers': {}} for _ in rows]
    if any(questions):
      posed = self._fitting(questions) if self.reads_rows else questions
      _add(records, 'answers', questions, posed, self.judge(codes, posed))
      forms = [[benchmark.written_forms(q) for q in own] for own in posed]
      if any(map(any, forms)) and isinstance(
        self.judge, model_judge.ModelJudge
      ):
        shares = self.judge.probabilities(codes, posed, forms)
        _add(records, 'probabilities', questions, posed, shares, 0.0)
    if rows[0].image is not None:
      posed = self._fitting(questions)
      for kind, images in (('real', self._read(rows)), ('own', codes)):
        answers = self.unified.answer(images, posed)
        _add(records, kind, questions, posed, answers)
    return records

  def _read(self, rows) -> np.ndarray:
    """Returns the real images in the form that the model reads."""
    size = vision_tower.image_size(self.unified)
    pixels = [image_reader.load_image(row.image, size) for row in rows]
    return vision_tower.to_read(self.unified, np.stack(pixels))

  def _fitting(self, questions) -> list[list[dict]]:
    """Returns the questions that fit into a row."""
    return [
      [q for q in own if not fault_of(self.unified, q)] for own in questions
    ]


def fault_of(unified: unified_model.UnifiedModel, question: dict) -> str:
  """Returns why a question does not fit into a row; '' if it does.

  Args:
    unified: the model that reads it.
    question: TIFA record; choices may be absent.
  """
  try:
    unified.check_question(question)
  except ValueError as error:
    return str(error)
  return ''


def _add(records, kind, questions, posed, values, absent='') -> None:
  """Adds values of posed questions by id; `absent` for the others."""
  for record, own, fitting, known in zip(
    records, questions, posed, values, strict=True
  ):
    record[kind] = {q['id']: absent for q in own} | {
      q['id']: value for q, value in zip(fitting, known, strict=True)
    }
