"""Files of MME: the release, the table of results, and VLMEvalKit's table.

Each reader yields (subtask, (image name, path), questions), where questions are
pairs of text and 'yes' or 'no', and appends to a list of faults.
"""

from collections.abc import Iterator
import pathlib

from hermesflow_jax.benchmarks import parquet_rows
from hermesflow_jax.benchmarks import vlmevalkit
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import text_files

PERCEPTION = (
  'existence',
  'count',
  'position',
  'color',
  'posters',
  'celebrity',
  'scene',
  'landmark',
  'artwork',
  'OCR',
)
COGNITION = (
  'commonsense_reasoning',
  'numerical_calculation',
  'text_translation',
  'code_reasoning',
)
SUBTASKS = PERCEPTION + COGNITION
_IMAGES = ('.jpg', '.png', '.jpeg')


def release_questions(path, faults) -> Iterator:
  """Yields the questions of the release; see the module.

  Args:
    path: folder of the release.
    faults: receives texts.

  Raises:
    ValueError: there is no such folder.
  """
  if not path.is_dir():
    raise ValueError(f'path of mme must be a folder or MME.tsv, got {path}')
  for subtask in SUBTASKS:
    folder = path / subtask
    if not folder.is_dir():
      continue
    nested = (folder / 'questions_answers_YN').is_dir()
    texts = folder / 'questions_answers_YN' if nested else folder
    images = folder / 'images' if nested else folder
    present = {pathlib.PurePath(n).stem: n for n in _image_names(images)}
    stems = set()
    for name in sorted(storage.list_names(texts)):
      stem = pathlib.PurePath(name).stem
      if not name.endswith('.txt'):
        continue
      stems.add(stem)
      if stem not in present:
        faults.append(f'{subtask}/{name} has no image in {images}')
        continue
      questions = [
        _pair(f'{subtask}/{name}', line, faults)
        for line in text_files.read(texts / name).split('\n')
        if line.strip()
      ]
      image = present[stem]
      yield subtask, (image, images / image), [q for q in questions if q]
    for stem in sorted(set(present) - stems):
      faults.append(f'{subtask}/{present[stem]} has no questions in {texts}')


def document_questions(path, faults) -> Iterator:
  """Yields the questions of the data set that lmms-eval reads; see the module.

  A question also has the number of its row.

  Args:
    path: folder with `test-*.parquet`.
    faults: receives texts.

  Raises:
    ValueError: a file cannot be read.
  """
  columns, groups = ('question_id', 'question', 'answer', 'category'), {}
  for number, cells, image in parquet_rows.read(path, columns):
    subtask, place = cells['category'], f'row {number}'
    if subtask not in SUBTASKS:
      faults.append(f'{place}: category must be a subtask, got {subtask!r}')
      continue
    pair = _pair(place, f'{cells["question"]}\t{cells["answer"]}', faults)
    # Ids are like code_reasoning/0020.png.
    name = cells['question_id'].rpartition('/')[2]
    group = groups.setdefault((subtask, name), (image, []))
    group[1].extend([(*pair, number)] if pair else [])
  for (subtask, name), (image, questions) in groups.items():
    yield subtask, (name, image), questions


def _image_names(folder) -> list[str]:
  if not folder.is_dir():
    return []
  return [n for n in storage.list_names(folder) if n.lower().endswith(_IMAGES)]


def _pair(place, line, faults):
  """Returns (question, 'yes' or 'no'); None with a fault."""
  question, tab, label = line.rstrip('\r').rpartition('\t')
  label = label.strip().lower()
  if not tab or label not in ('yes', 'no'):
    faults.append(f"{place} must have lines question, tab, Yes or No: '{line}'")
    return None
  return question, label


def result_questions(path, images, faults) -> Iterator:
  """Yields the questions of `<subtask>.txt`; see the module.

  Args:
    path: folder of the tables.
    images: folder of the release.
    faults: receives texts.
  """
  for subtask in SUBTASKS:
    file = path / f'{subtask}.txt'
    if not file.is_file():
      continue
    lines = [x for x in text_files.read(file).split('\n') if x.strip()]
    for start in range(0, len(lines), 2):
      cells = [
        line.rstrip('\r').split('\t') for line in lines[start : start + 2]
      ]
      name = cells[0][0]
      if len({row[0] for row in cells}) > 1 or min(map(len, cells)) < 3:
        faults.append(
          f'{file.name}, line {start + 1}: two lines of the same image with '
          'image, question and answer must follow each other'
        )
        continue
      place = f'{file.name}, line {start + 1}'
      image = _find_image(images / subtask, name)
      if image is None:
        faults.append(
          f'{place}: there is no image {name} in {images / subtask}'
        )
        continue
      questions = [
        _pair(place, f'{question}\t{label}', faults)
        for _, question, label, *_ in cells
      ]
      yield subtask, (name, image), [q for q in questions if q]


def _find_image(folder, name):
  for path in (folder / name, folder / 'images' / name):
    if path.is_file():
      return path
  return None


def table_questions(path, images, faults) -> Iterator:
  """Yields the questions of VLMEvalKit's table; see the module.

  Args:
    path: TSV file.
    images: folder of images that `image_path` names; '' for that of the file.
    faults: receives texts.

  Raises:
    ValueError: the table cannot be read.
  """
  table, groups = vlmevalkit.Table(path), {}
  for number, cells in enumerate(table.rows):
    place = f'index {cells["index"]}'
    subtask, label = cells.get('category', ''), cells.get('answer', '')
    if subtask not in SUBTASKS:
      faults.append(f'{place}: category must be a subtask, got {subtask!r}')
      continue
    pair = _pair(place, f'{cells["question"]}\t{label}', faults)
    try:
      image = table.image(number, images)
    except ValueError as error:
      faults.append(f'{place}: {error}')
      continue
    name = cells.get('image_path') or str(image).rpartition(', ')[2]
    group = groups.setdefault((subtask, name), (image, []))
    group[1].extend([pair] if pair else [])
  for (subtask, name), (image, questions) in groups.items():
    yield subtask, (name, image), questions
