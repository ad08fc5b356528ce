"""Writes inputs in the form of HermesFlow's code, for its scripts.

`initial_data.json` holds id, img_path, prompt and caption of each input, and
`vqa_data.json` the questions in TIFA's form. Images inside other files are
copied into files of their own.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import json
import pathlib

from hermesflow_jax.data.sources import stored_image
from hermesflow_jax.runtime import atomic_file
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import user_text

INITIAL, QUESTIONS = 'initial_data.json', 'vqa_data.json'
_IMAGES = 'initial_images'
# Fields of a question, in the order of the official files.
_FIELDS = (
  'id',
  'caption',
  'element',
  'question',
  'choices',
  'answer',
  'element_type',
)


def write_inputs(
  folder: pathlib.PurePath, examples: Sequence[dict], say: Callable[[str], None]
) -> None:
  """Writes `initial_data.json` and, where there are questions, `vqa_data.json`.

  Args:
    folder: folder for the files, a `storage.path`.
    examples: see `example_checks.Checker.check`; those without an image are
      left out.
    say: prints how many inputs were written.
  """
  count = 0

  def inputs():
    nonlocal count
    for example in examples:
      if example['path'] is not None:
        count += 1
        yield {
          'id': example['official_id'],
          'img_path': _image_path(folder, example),
          'prompt': example['prompt'],
          'caption': example['caption'],
        }

  def questions():
    for example in examples:
      for question in example['questions'] if example['path'] else ():
        row = question | {
          'id': example['official_id'],
          'caption': example['caption'],
        }
        yield {key: row.get(key, '') for key in _FIELDS}

  _write_list(folder / INITIAL, inputs())
  _write_list(folder / QUESTIONS, questions())
  say(
    f'{user_text.counted(count, "input")} '
    f'in {folder / INITIAL}, in the form of the official code'
  )


def _image_path(folder, example) -> str:
  """Returns the absolute path of an image, which may be copied to a file."""
  image = example['path']
  if isinstance(image, stored_image.StoredImage):
    path = folder / _IMAGES / f'{example["id"]}{image.suffix}'
    if not path.exists():
      storage.write(path, image.load())
    image = path
  return str(image.resolve() if storage.is_local(image) else image)


def _write_list(path: pathlib.PurePath, rows: Iterable[dict]) -> None:
  """Writes a JSON list, row by row where the file is local."""
  parts = _list_parts(rows)
  if not storage.is_local(path):
    output_files.write_atomically(path, ''.join(parts))
    return
  storage.make_folder(path.parent)
  with atomic_file.replacing(path) as file:
    file.writelines(part.encode() for part in parts)


def _list_parts(rows):
  """Yields the text of a JSON list in parts."""
  mark = '['
  for row in rows:
    yield f'{mark}\n{json.dumps(row, ensure_ascii=False, allow_nan=False)}'
    mark = ','
  yield '[]\n' if mark == '[' else '\n]\n'
