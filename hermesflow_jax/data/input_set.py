"""Image-caption inputs for evaluation and curation."""

from collections.abc import Sequence
import dataclasses
import sys

import numpy as np

from hermesflow_jax.data import lazy_images
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_names
from hermesflow_jax.runtime import disk_objects

# Fields of questions whose texts many questions have.
_REPEATED = ('answer', 'caption', 'choices', 'element', 'element_type')


@dataclasses.dataclass(frozen=True)
class Inputs:
  """N image-caption inputs with their questions.

  Names, texts and codes of many inputs lie in files; see `disk_objects` and
  `disk_arrays`.

  Attributes:
    ids: N names.
    captions: N true captions.
    tags: N caption kinds; '' for none.
    questions: N lists with TIFA records.
    codes: int32[N, I], real image codes.
    pixels: real images uint8[N, H, W, 3], read when they are used, for a model
      that reads pixels; or None.
  """

  ids: Sequence[str]
  captions: Sequence[str]
  tags: Sequence[str]
  questions: Sequence[list[dict]]
  codes: np.ndarray
  pixels: lazy_images.LazyImages | None = None

  @property
  def images(self) -> np.ndarray | lazy_images.LazyImages:
    """The real images in the form that the model reads: pixels, or codes."""
    return self.codes if self.pixels is None else self.pixels

  def __len__(self):
    return len(self.ids)

  def part(self, span: slice) -> 'Inputs':
    """Returns a contiguous range of few inputs; memory holds their texts."""

    def of_range(values):
      if values is None:
        return None
      if isinstance(values, disk_objects.Computed):
        return list(values[span])
      return values[span]

    values = (getattr(self, field.name) for field in dataclasses.fields(self))
    return Inputs(*map(of_range, values))

  def select(self, indices: Sequence[int]) -> 'Inputs':
    """Returns the inputs at these indices, in this order."""
    return select(self, indices)


def from_records(records: Sequence[dict]) -> Inputs:
  """Returns records as inputs, sorted by id.

  Sorted, because the order in a data source depends on its size.

  Args:
    records: fields of `Inputs`, and for a model that reads pixels `pixels`, a
      function () -> uint8[H, W, 3]. Each is taken a few times.
  """
  order = disk_names.order(_column(records, 'id'))
  chosen = disk_objects.Computed(len(order), lambda n: records[order[n]])
  has_pixels = len(order) > 0 and 'pixels' in chosen[0]
  # A record that is read when it is taken should be read few times.
  texts = disk_objects.keep(
    (
      r['id'],
      r['caption'],
      sys.intern(r['tag']),
      _with_shared_texts(r['questions']),
    )
    for r in chosen
  )
  ids, captions, tags, questions = (
    disk_objects.few_as_list(_column(texts, place)) for place in range(4)
  )
  return Inputs(
    ids=ids,
    captions=captions,
    tags=tags,
    questions=questions,
    codes=disk_arrays.stack(_column(chosen, 'codes')),
    pixels=lazy_images.LazyImages(
      disk_objects.few_as_list(_column(chosen, 'pixels'))
    )
    if has_pixels
    else None,
  )


def _column(records: Sequence, name: str | int) -> Sequence:
  """Returns a field of records, which is read when it is taken."""
  return disk_objects.Computed(len(records), lambda n: records[n][name])


def _with_shared_texts(questions: list[dict]) -> list[dict]:
  """Returns questions; equal texts of all inputs are an object in memory."""
  return [
    {
      sys.intern(name): _shared(value) if name in _REPEATED else value
      for name, value in question.items()
    }
    for question in questions
  ]


def _shared(value):
  """Returns a text, or a list with texts, that others share."""
  if isinstance(value, list):
    return [_shared(item) for item in value]
  return sys.intern(value) if type(value) is str else value


def from_span(records: Sequence[dict], span: range) -> Inputs:
  """Returns the records at some positions of their data set as inputs.

  Args:
    records: records. `position` is the place of a record among those of its
      data set by id; without it, the place in this list by id. So a record that
      is left out moves no other.
    span: positions.

  Raises:
    ValueError: no record has such a position.
  """
  chosen = disk_arrays.Integers()
  for number, place in enumerate(disk_names.order(_column(records, 'id'))):
    position = records[place].get('position')
    if (number if position is None else position) in span:
      chosen.append(place)
  if not chosen:
    raise ValueError(
      f'records {span.start + 1} to {span.stop} by id must exist and have '
      'images that can be read, got none; mend the images, or give more '
      '--config.inputs'
    )
  return from_records(
    disk_objects.Computed(len(chosen), lambda n: records[chosen[n]])
  )


def join(parts: Sequence[Inputs]) -> Inputs:
  """Returns the inputs of all parts; of those with equal ids, the first.

  Args:
    parts: at least one, all with pixels or all without.
  """
  pixels = None
  if parts[0].pixels is not None:
    pixels = lazy_images.LazyImages(
      disk_objects.few_as_list(
        disk_objects.joined([part.pixels.readers for part in parts])
      )
    )
  every = Inputs(
    ids=disk_objects.keep(name for part in parts for name in part.ids),
    captions=disk_objects.keep(c for part in parts for c in part.captions),
    tags=disk_objects.keep(tag for part in parts for tag in part.tags),
    questions=disk_objects.keep(q for part in parts for q in part.questions),
    codes=disk_arrays.join([part.codes for part in parts]),
    pixels=pixels,
  )
  first = disk_names.Numbers()
  for place, name in enumerate(every.ids):
    first.setdefault(name, place)
  if len(first) == len(every):
    return every
  return every.select(disk_arrays.Integers(first.values()))


def select(record, indices: Sequence[int]):
  """Indexes the N-long lists and arrays of a dataclass; None stays None."""

  def column(values):
    if values is None:
      return None
    if isinstance(values, np.ndarray):
      return disk_arrays.take(values, indices)
    if isinstance(values, lazy_images.LazyImages):
      return values[list(indices)]
    chosen = (values[index] for index in indices)
    if isinstance(values, disk_objects.Computed):
      return disk_objects.keep(chosen)
    return list(chosen)

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
