"""Reads the JSON files of benchmarks, with one line for a fault."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import pathlib

from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.data import image_folder
from hermesflow_jax.data import input_faults
from hermesflow_jax.data import tifa_questions
from hermesflow_jax.data.sources import byte_ranges
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import strict_json

_TYPES = {
  int: 'an integer',
  float: 'a number',
  str: 'a text',
  list: 'a list',
  dict: 'an object',
}


def read_json(path: pathlib.PurePath) -> object:
  """Returns the value of a JSON file of any length.

  Args:
    path: file, a `storage.path`.

  Raises:
    ValueError: the file cannot be read, or is no JSON.
  """
  size = byte_ranges.size(path)
  try:
    return strict_json.parse(
      byte_ranges.read(path, 0, size).decode('utf-8-sig')
    )
  except ValueError as error:
    raise ValueError(f'{path} must be JSON: {error}') from error


def read_object(path: pathlib.PurePath, key: str, kind: type) -> dict:
  """Returns the object of a JSON file that has a key.

  Args:
    path: file, a `storage.path`.
    key: a key that the object must have.
    kind: type of its value.

  Raises:
    ValueError: the file cannot be read, or is another file.
  """
  value = read_json(storage.path(path))
  if not isinstance(value, dict) or not isinstance(value.get(key), kind):
    raise ValueError(
      f'{path} must be an object with {_TYPES[kind]} {key!r}, got '
      f'{type(value).__name__}'
      + (
        f' with {", ".join(list(value)[:5])}' if isinstance(value, dict) else ''
      )
    )
  return value


def read_lines(path: pathlib.PurePath) -> Iterator[tuple[str, object]]:
  """Yields (place, value) of each record; a damaged one is a ValueError.

  Args:
    path: file of JSON lines or a JSON list, a `storage.path`.

  Raises:
    ValueError: the file cannot be read, or has no record.
  """
  data = byte_ranges.read(path, 0, byte_ranges.size(path))
  try:
    text = data.decode('utf-8-sig')
  except UnicodeDecodeError as error:
    raise ValueError(f'{path} must be UTF-8: {error}') from error
  if not text.strip():
    raise ValueError(f'{path} must have records, got none')
  yield from strict_json.records(text)


def read_prompts(
  files: protocol.BenchmarkFiles,
  name: str,
  parse: Callable[[int, object], protocol.DrawingPrompt],
) -> protocol.BenchmarkRows:
  """Reads the prompts of a file of JSON lines.

  Args:
    files: `path` is the file, or a folder with it.
    name: usual name of the file.
    parse: (number of the record, record) -> prompt; it raises ValueError for a
      record with a fault.

  Raises:
    ValueError: one line with all faults.
  """
  path = storage.path(files.path)
  if path.is_dir():
    path = path / name
  rows, faults = [], []
  for number, (place, value) in enumerate(read_lines(path)):
    try:
      rows.append(parse(number, value))
    except ValueError as error:
      faults.append(f'{place}: {error}')
  return checked_rows(rows, 'official', faults, files, path)


def checked_rows(
  rows: list,
  form: str,
  faults: Sequence[str],
  files: protocol.BenchmarkFiles,
  path: pathlib.PurePath,
  notes: Sequence[str] = (),
) -> protocol.BenchmarkRows:
  """Returns the rows that were read, or raises for those with faults.

  Args:
    rows: rows without faults.
    form: name of the form of the file.
    faults: a text for each row with a fault.
    files: says whether such rows are left out.
    path: the file.
    notes: sentences about the reading.

  Raises:
    ValueError: one line with all faults.
  """
  input_faults.raise_or_report(
    faults, len(rows), files.on_error, lambda line: None, str(path)
  )
  return protocol.BenchmarkRows(rows, form, tuple(faults), tuple(notes))


def read_tifa(
  path: pathlib.PurePath,
) -> tuple[dict[str, tuple[str, list[dict]]], list[str]]:
  """Reads a TIFA file: records with `id`, `caption` and a question.

  Args:
    path: the file, a `storage.path`.

  Returns:
    (caption and questions by id, faults). The `id` of a question is the number
    of its record.

  Raises:
    ValueError: the file cannot be read.
  """
  captions, faults = {}, []
  for number, (place, value) in enumerate(read_lines(path)):
    try:
      check_fields(value, {'caption': str})
      name = str(value.get('id', ''))
      if not name:
        raise ValueError("'id' is missing")
      question = tifa_questions.check_question(value)
      caption, questions = captions.setdefault(name, (value['caption'], []))
      if caption != value['caption']:
        raise ValueError(
          f'id {name!r} must have one caption, got {value["caption"]!r:.60} '
          f'and {caption!r:.60}'
        )
      questions.append(question | {'id': str(number)})
    except ValueError as error:
      faults.append(f'{place}: {error}')
  return captions, faults


def check_fields(value: object, fields: Mapping[str, type]) -> None:
  """Checks that a record has fields of these types.

  Args:
    value: a record; a ValueError is raised.
    fields: type by name.

  Raises:
    ValueError: names the first field that is missing or of another type.
  """
  if isinstance(value, ValueError):
    raise value
  if not isinstance(value, dict):
    raise ValueError(f'it must be an object, got {type(value).__name__}')
  for name, kind in fields.items():
    if name not in value:
      raise ValueError(f'{name!r} is missing')
    content = value[name]
    accepted = (int, float) if kind is float else kind
    if not isinstance(content, accepted) or isinstance(content, bool):
      raise ValueError(f'{name} must be {_TYPES[kind]}, got {content!r:.60}')


def coco_image(
  folder: image_folder.ImageFolder, number: int, subtype: str
) -> pathlib.PurePath:
  """Returns the image of an id, by COCO's name or its number alone.

  Args:
    folder: folder of the images.
    number: image id.
    subtype: e.g. 'val2014'.

  Raises:
    ValueError: there is no such image.
  """
  # Questions of test-dev2015 are about images of test2015.
  subtype = subtype.replace('test-dev', 'test')
  names = [f'COCO_{subtype}_{number:012d}.jpg', f'{number:012d}.jpg']
  names += [f'{number}{suffix}' for suffix in ('.jpg', '.png')]
  for name in names:
    with contextlib.suppress(ValueError):
      return folder.find(name, 'image')
  return folder.find(names[0], 'image')
