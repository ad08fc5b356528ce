"""The benchmarks of a job: files read and checked before any weight."""

import atexit
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import hashlib
import json
import pathlib

import numpy as np

from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.benchmarks import registry
from hermesflow_jax.data import image_folder
from hermesflow_jax.data import image_reader
from hermesflow_jax.data import input_faults
from hermesflow_jax.runtime import temporary_folders
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import user_text
from hermesflow_jax.sampling import search_settings
from hermesflow_jax.shapes import benchmark_files

# Name, in the place of a path, of the files that the embedded world gives.
SHAPES = 'shapes'
# Scenes of the embedded world, where the settings give no number.
_SCENES = 200


@dataclasses.dataclass(frozen=True)
class BenchmarkSet:
  """A benchmark with the rows that a run predicts.

  Attributes:
    benchmark: the benchmark.
    rows: rows in file order.
    total: rows in the file.
    form: its form.
    notes: sentences about the rows.
    reply_words: meaning by word, see `protocol.BenchmarkFiles`.
    temporary: folder with the embedded world's files, which has another name in
      each program; '' for the user's files.
  """

  benchmark: protocol.UnderstandingBenchmark | protocol.DrawingBenchmark
  rows: Sequence
  total: int
  form: str
  notes: tuple[str, ...]
  reply_words: Mapping[str, str] = dataclasses.field(default_factory=dict)
  temporary: str = ''

  @property
  def asks(self) -> bool:
    """Whether rows are questions about images; others are prompts to draw."""
    return isinstance(self.benchmark, protocol.UnderstandingBenchmark)

  def content_hash(self) -> str:
    """Returns a SHA-256 over the rows' texts and images."""
    total = hashlib.sha256()
    for row in self.rows:
      values = {
        field.name: getattr(row, field.name)
        for field in dataclasses.fields(row)
        if field.name != 'image'
      }
      text = json.dumps(values, sort_keys=True, default=str)
      if self.temporary:
        text = text.replace(self.temporary, '')
      total.update(text.encode())
    images = _images(self.rows)
    if images:
      total.update(str(image_folder.content_hash(images.values())).encode())
    return total.hexdigest()


def read(
  names: Sequence[str],
  sources: registry.Sources,
  most: int,
  console: terminal.Console,
  search: search_settings.Search = search_settings.Search(),
) -> list[BenchmarkSet]:
  """Reads benchmarks.

  Args:
    names: benchmark names.
    sources: where their files are.
    most: rows per benchmark at most, evenly from the whole file; 0 for all.
    console: prints what is left out.
    search: search for each drawing.

  Raises:
    ValueError: one line with the faults of all benchmarks.
  """
  faults, sets = [], []
  for name in names:
    entry = input_faults.attempt(faults, _read, name, sources, most, console)
    sets.append(entry)
    if entry and not entry.asks:
      questions = [row.questions for row in entry.rows]
      input_faults.attempt(faults, search.check_questions, questions, name)
  input_faults.raise_if_any(faults)
  return sets


def _read(name, sources, most, console) -> BenchmarkSet:
  benchmark, files = registry.make(name), getattr(sources, name)
  if not files.path:
    raise ValueError(
      f"sources.{name}.path must be the files of {benchmark.title}, got ''; "
      f'give --config.sources.{name}.path (docs/evaluation.md)'
    )
  temporary = ''
  if files.path == SHAPES:
    files, temporary = _write_shapes(name, files, most)
  if files.questions and name != 'gap':
    raise ValueError(
      f"sources.{name}.questions must be '' except of gap, got "
      f'{files.questions!r}'
    )
  content = benchmark.read(files)
  rows, row_faults = _valid(content.rows)
  input_faults.raise_or_report(
    row_faults, len(rows), files.on_error, lambda line: None, files.path
  )
  if not rows:
    raise ValueError(
      f'{files.path} must have rows of {benchmark.title}, got none'
    )
  notes, total = list(content.notes), len(rows)
  if most and total > most:
    size = getattr(benchmark, 'rows_together', 1)
    places = np.linspace(0, total // size - 1, max(1, most // size))
    rows = [
      row
      for place in places.round().astype(int)
      for row in rows[place * size : (place + 1) * size]
    ]
    notes.append(f'{len(rows)} of {total} rows, evenly from the whole file')
  rows, faults = _with_images(name, rows, files, console)
  left_out = [*content.left_out, *row_faults, *faults]
  if left_out:
    notes.append(
      f'rows with {user_text.counted(len(left_out), "fault")} are left out'
    )
    console.say(
      f'{name}: {user_text.counted(len(left_out), "fault")} '
      f'left out, e.g. {left_out[0]}'
    )
  words = dict(word.split('=') for word in files.reply_words)
  return BenchmarkSet(
    benchmark, rows, total, content.form, tuple(notes), words, temporary
  )


def _valid(rows) -> tuple[list, list[str]]:
  """Returns (rows that can be predicted, faults in the others)."""
  good, faults, seen = [], [], set()
  for row in rows:
    try:
      if row.id in seen:
        raise ValueError('its id must occur once')
      seen.add(row.id)
      user_text.check('prompt', row.prompt)
      if isinstance(row, protocol.DrawingPrompt):
        _check_drawing(row)
    except ValueError as error:
      faults.append(f'{row.id}: {error}')
    else:
      good.append(row)
  return good, faults


def _check_drawing(row) -> None:
  """Checks a prompt's questions, and that drawings stay in their folder.

  Raises:
    ValueError: a text cannot be read, or a path leaves the folder.
  """
  for question in row.questions:
    user_text.check('question', question['question'])
    for choice in question['choices']:
      user_text.check('choices', choice)
  for file in filter(None, (*row.files, row.grid)):
    path = pathlib.PurePosixPath(file)
    if path.is_absolute() or '..' in path.parts:
      raise ValueError(f'its drawing must stay in its folder, got {file!r}')


def _write_shapes(name, files, most) -> tuple[protocol.BenchmarkFiles, str]:
  """Writes the embedded world's files for as long as the program runs.

  Returns:
    (where the files are, their folder).

  Raises:
    ValueError: it has no such benchmark.
  """
  if name not in benchmark_files.FORMS:
    raise ValueError(
      f'sources.{name}.path must be files: the embedded world has only '
      f'{", ".join(benchmark_files.FORMS)}, got {files.path!r}'
    )
  temporary = temporary_folders.TemporaryFolder()
  atexit.register(temporary.close)
  path = benchmark_files.write(name, temporary.path, most or _SCENES)
  images = str(temporary.path) if name == 'coco' else ''
  own = dataclasses.replace(
    files,
    path=str(path),
    images=images,
    suffix='' if files.suffix is None else files.suffix,
    reply_words=files.reply_words or benchmark_files.REPLY_WORDS,
  )
  return own, str(temporary.path)


def _images(rows) -> dict:
  """Returns the rows' images by name."""
  return {str(row.image): row.image for row in rows if row.image is not None}


def _with_images(name, rows, files, console):
  """Returns (rows whose image opens, faults in the others).

  Raises:
    ValueError: an image does not open, and `on_error` is 'raise'.
  """
  images = _images(rows)
  if not images:
    return rows, []
  bad = {}
  for key, image in console.progress(f'reading {name}')(list(images.items())):
    if fault := image_reader.decoding_fault(image):
      bad[key] = fault
  faults = [f'image {key}: {fault}' for key, fault in bad.items()]
  good = [row for row in rows if str(row.image) not in bad]
  input_faults.raise_or_report(
    faults, len(good), files.on_error, lambda line: None, files.path
  )
  return good, faults
