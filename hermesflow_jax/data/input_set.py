"""Image-caption inputs for evaluation and curation."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from hermesflow_jax.data import lazy_images


@dataclasses.dataclass(frozen=True)
class Inputs:
  """N image-caption inputs with their questions.

  Attributes:
    ids: N names.
    captions: N true captions.
    tags: N caption kinds; '' for none.
    questions: N lists with TIFA records.
    codes: int32[N, I], real image codes.
    pixels: real images uint8[N, H, W, 3], read when they are used, for a model
      that reads pixels; or None.
  """

  ids: list[str]
  captions: list[str]
  tags: list[str]
  questions: list[list[dict]]
  codes: np.ndarray
  pixels: lazy_images.LazyImages | None = None

  @property
  def images(self) -> np.ndarray | lazy_images.LazyImages:
    """The real images in the form that the model reads: pixels, or codes."""
    return self.codes if self.pixels is None else self.pixels

  def __len__(self):
    return len(self.ids)

  def part(self, span: slice) -> 'Inputs':
    """Returns a contiguous input range."""
    values = (getattr(self, field.name) for field in dataclasses.fields(self))
    return Inputs(*(v if v is None else v[span] for v in values))

  def select(self, indices: Sequence[int]) -> 'Inputs':
    """Returns the inputs at these indices, in this order."""
    return select(self, indices)


def from_records(records: list[dict]) -> Inputs:
  """Returns records as inputs, sorted by id.

  Sorted, because the order in a data source depends on its size.

  Args:
    records: fields of `Inputs`, and for a model that reads pixels `pixels`, a
      function () -> uint8[H, W, 3].
  """
  records = sorted(records, key=lambda record: record['id'])
  return Inputs(
    ids=[r['id'] for r in records],
    captions=[r['caption'] for r in records],
    tags=[r['tag'] for r in records],
    questions=[r['questions'] for r in records],
    codes=np.stack([r['codes'] for r in records]),
    pixels=lazy_images.LazyImages([r['pixels'] for r in records])
    if records and 'pixels' in records[0]
    else None,
  )


def from_span(records: list[dict], span: range) -> Inputs:
  """Returns the records at some positions of their data set as inputs.

  Args:
    records: records. `position` is the place of a record among those of its
      data set by id; without it, the place in this list by id. So a record that
      is left out moves no other.
    span: positions.

  Raises:
    ValueError: no record has such a position.
  """
  ordered = sorted(records, key=lambda record: record['id'])
  chosen = [
    record
    for number, record in enumerate(ordered)
    if record.get('position', number) in span
  ]
  if not chosen:
    raise ValueError(
      f'records {span.start + 1} to {span.stop} by id must exist and have '
      'images that can be read, got none; mend the images, or give more '
      '--config.inputs'
    )
  return from_records(chosen)


def select(record, indices: Sequence[int]):
  """Indexes the N-long lists and arrays of a dataclass; None stays None."""

  def column(values):
    if values is None:
      return None
    if isinstance(values, (np.ndarray, lazy_images.LazyImages)):
      return values[list(indices)]
    return [values[index] for index in indices]

  return type(record)(
    *(
      column(getattr(record, field.name))
      for field in dataclasses.fields(record)
    )
  )


def correct_answers(
  answers: Sequence[str], questions: Sequence[dict]
) -> list[bool]:
  """Returns whether each answer equals its question's answer."""
  return [a == q['answer'] for a, q in zip(answers, questions, strict=True)]
