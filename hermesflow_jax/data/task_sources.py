"""Data sets of the training tasks, mixed by their weights."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import hashlib
import typing

import numpy as np

from hermesflow_jax.data import input_faults
from hermesflow_jax.data import pipeline
from hermesflow_jax.data import record_files
from hermesflow_jax.data.sources import byte_ranges
from hermesflow_jax.data.sources import text_rows
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage


@dataclasses.dataclass(frozen=True)
class ImageSet(record_files.Source):
  """Images with captions or conversations; see `record_files.Source`.

  Attributes:
    weight: share of the task's rows, relative to its other sets.
  """

  weight: settings.PositiveFloat = 1.0


@dataclasses.dataclass(frozen=True)
class TextSet:
  """Texts; see `text_rows.Texts`.

  Attributes:
    annotations: a .txt file, a folder of them, a table or JSON records.
    field: field of a record that holds the text.
    on_error: 'raise', or 'skip' to leave out texts with faults and report them.
    weight: share of the task's rows, relative to its other sets.
  """

  annotations: str = settings.path_of_content('data')
  field: str = 'text'
  on_error: typing.Annotated[str, settings.one_of(*input_faults.POLICIES)] = (
    'raise'
  )
  weight: settings.PositiveFloat = 1.0

  def __post_init__(self):
    settings.check(self)


class _Marked(Sequence):
  """Examples with the policy for images that cannot be read."""

  def __init__(self, examples: Sequence, on_error: str):
    self._examples, self._on_error = examples, on_error

  def __len__(self):
    return len(self._examples)

  def __getitem__(self, index):
    return self._examples[index] | {'on_error': self._on_error}


class _Part(Sequence):
  """Examples at some positions."""

  def __init__(self, examples: Sequence, positions: np.ndarray):
    self._examples, self._positions = examples, positions

  def __len__(self):
    return len(self._positions)

  def __getitem__(self, index):
    return self._examples[int(self._positions[index])]


def split(
  name: str, mixture: pipeline.Mixture, share: float
) -> tuple[pipeline.Mixture, pipeline.Mixture]:
  """Returns the examples to learn from, and those that are held out.

  Held-out examples have equal distances in their set, at least one of each.

  Args:
    name: setting that holds the sets, for errors.
    mixture: examples of a task.
    share: share of each set that is held out, in (0, 1).

  Raises:
    ValueError: a set has a single example.
  """
  learned, held_out = [], []
  for number, examples in enumerate(mixture.sources):
    size = len(examples)
    if size < 2:
      raise ValueError(
        f'{name}[{number}] must have at least 2 examples to hold out a share, '
        f'got {size}; set held_out.share=0, or give held_out.{name}'
      )
    count = min(max(1, round(share * size)), size - 1)
    positions = ((np.arange(count) + 0.5) * size / count).astype(int)
    rest = np.delete(np.arange(size), positions)
    learned.append(_Part(examples, rest))
    held_out.append(_Part(examples, positions))
  return tuple(
    pipeline.Mixture(tuple(parts), mixture.weights)
    for parts in (learned, held_out)
  )


def open_images(
  name: str, sets: Sequence[ImageSet], say: Callable[[str], None]
) -> pipeline.Mixture:
  """Returns the checked examples of a task's sets.

  Records stay in their files, and images are opened when a batch needs them.

  Args:
    name: setting that holds the sets, for errors.
    sets: image sets.
    say: receives a line for each record that is left out.

  Raises:
    ValueError: a set is not named, cannot be read, or has faults.
  """
  if not sets:
    raise ValueError(f'{name} must have a data set, got none')

  def open_set(number, item):
    check_named(f'{name}[{number}]', item)
    examples = record_files.open_records(
      item, say, needs_questions=False, text_only='skip'
    )
    return _Marked(examples, item.on_error)

  return _mixture(open_set, sets)


def check_named(setting: str, source: record_files.Source) -> None:
  """Raises ValueError for a data set without a name.

  Args:
    setting: setting that holds the data set, e.g. 't2i[0]'.
    source: the data set.
  """
  if not source.annotations:
    raise ValueError(
      f'{setting}.annotations must be a file, folder, shards or dataset, got '
      f"''; give '--config.{setting}.annotations=...' (docs/data.md)"
    )


def open_texts(
  sets: Sequence[TextSet],
  say: Callable[[str], None] = lambda line: None,
  name: str = 'lm',
) -> pipeline.Mixture:
  """Returns the checked texts of sets.

  Args:
    sets: at least one text set.
    say: receives a line for each text that is left out.
    name: setting that holds the sets, for errors.

  Raises:
    ValueError: a set is not named, cannot be read, or has faults.
  """

  def open_set(number, item):
    check_named(f'{name}[{number}]', item)
    return _texts(item, say)

  return _mixture(open_set, sets)


def _texts(item, say=lambda line: None):
  return text_rows.Texts(item.annotations, item.field, item.on_error, say)


def _mixture(open_set, sets):
  """Returns opened sets with their weights; names the faults of all sets."""
  sources, faults = [], []
  for number, item in enumerate(sets):
    sources.append(input_faults.attempt(faults, open_set, number, item))
  if faults:
    raise ValueError('; '.join(faults))
  return pipeline.Mixture(
    tuple(sources), tuple(float(item.weight) for item in sets)
  )


def content_hashes(tasks: Mapping[str, Sequence]) -> dict[str, str]:
  """Returns a SHA-256 by set, e.g. 't2i[0]', of its texts but not its images.

  Args:
    tasks: image sets and text sets by task.
  """
  hashes = {}
  for task, sets in tasks.items():
    for number, item in enumerate(sets):
      if isinstance(item, ImageSet):
        parts = sorted(record_files.file_hashes(item).values())
      else:
        parts = [_text_hash(item)]
      digest = hashlib.sha256('\n'.join(parts).encode()).hexdigest()
      hashes[f'{task}[{number}]'] = digest
  return hashes


def _text_hash(item):
  path = storage.path(item.annotations)
  if storage.is_file(path):
    return byte_ranges.sha256(path)
  texts = _texts(item)
  total = hashlib.sha256()
  for number in range(len(texts)):
    total.update(texts[number]['text'].encode('utf-8', 'replace') + b'\0')
  return total.hexdigest()
