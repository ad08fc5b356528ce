"""Image-caption inputs with their questions."""

from collections.abc import Sequence
import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Inputs:
  """Image-caption inputs with their questions; N of each.

  Attributes:
    ids: names.
    captions: true captions.
    tags: the kind of each caption; '' if there is none.
    questions: TIFA records of each caption.
    codes: int32[N, I], the real images' codes.
  """

  ids: list[str]
  captions: list[str]
  tags: list[str]
  questions: list[list[dict]]
  codes: np.ndarray

  def __len__(self):
    return len(self.ids)

  def part(self, span: slice) -> 'Inputs':
    """Returns some of the inputs."""
    return Inputs(
      *(getattr(self, field.name)[span] for field in dataclasses.fields(self))
    )

  def select(self, places: Sequence[int]) -> 'Inputs':
    """Returns the inputs at these places, in this order."""
    return select(self, places)


def from_records(records: list[dict]) -> Inputs:
  """Returns records as the inputs of evaluation and curation, by name.

  The order of a source depends on how many records it was written with.
  """
  records = sorted(records, key=lambda record: record['id'])
  return Inputs(
    ids=[r['id'] for r in records],
    captions=[r['caption'] for r in records],
    tags=[r['tag'] for r in records],
    questions=[r['questions'] for r in records],
    codes=np.stack([r['codes'] for r in records]),
  )


def select(record, places: Sequence[int]):
  """Indexes the N-long lists and arrays of a dataclass; None stays None."""

  def column(values):
    if values is None or isinstance(values, np.ndarray):
      return values if values is None else values[list(places)]
    return [values[place] for place in places]

  return type(record)(
    *(
      column(getattr(record, field.name))
      for field in dataclasses.fields(record)
    )
  )


def correct_answers(
  answers: Sequence[str], questions: Sequence[dict]
) -> list[bool]:
  """Returns which answers are the wanted ones."""
  return [a == q['answer'] for a, q in zip(answers, questions, strict=True)]
