"""COCO captions to draw, for the Frechet distance and the CLIP score.

Papers draw 30,000 captions of val2014. The list of text2image-benchmark says
which; from COCO's own file we take the first caption of 30,000 images that seed
0 draws.
"""

import csv
import io
import random

from hermesflow_jax.benchmarks import benchmark_files
from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.data import image_folder
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import text_files

_COUNT = 30_000
_SEED = 0
_CAPTION_COLUMNS = ('caption', 'text')


class Coco(protocol.DrawingBenchmark):
  """COCO 30K; the job measures the drawings, see `drawing_measures`."""

  name = 'coco'
  title = 'COCO 30K'
  protocol = (
    'One image a caption; Frechet distance by Inception v3 of the FID port, '
    'CLIP score by the CLIP of this run; each names its preparation.'
  )

  def title_of(self, rows):
    """See the protocol: 30K is the title of 30,000 captions alone."""
    return self.title if rows == _COUNT else 'COCO'

  def read(self, files):
    """Reads captions.

    Args:
      files: `path` is a CSV file with columns `image_id` and `caption` (or
        `text`), or `captions_val2014.json`; `images` is the folder of the real
        images, '' where the statistics of real images are given.

    Raises:
      ValueError: see the protocol.
    """
    path = storage.path(files.path)
    if path.suffix.lower() == '.csv':
      form, pairs, notes = 'list', _listed(path), ()
    else:
      form, pairs = 'COCO', _first_captions(path)
      notes = (f'first captions of images that seed {_SEED} draws',)
    folder = image_folder.ImageFolder(files.images) if files.images else None
    rows, faults, seen = [], [], set()
    for place, number, caption in pairs:
      try:
        if not caption.strip():
          raise ValueError('caption must not be empty')
        reference = {'image_id': number}
        if folder is not None:
          reference['image'] = str(_real_image(folder, number))
        # A list may have several captions of an image.
        name = f'{number}_{len(rows)}' if number in seen else f'{number}'
        seen.add(number)
        rows.append(
          protocol.DrawingPrompt(name, caption, (f'{name}.png',), (), reference)
        )
      except ValueError as error:
        faults.append(f'{place}: {error}')
    return benchmark_files.checked_rows(rows, form, faults, files, path, notes)

  def score(self, rows, answers):
    """See the protocol: nothing, as no judge answers about the drawings."""
    del rows, answers
    return []


def _listed(path):
  """Yields (place, image id, caption) of a CSV file.

  Raises:
    ValueError: the file cannot be read, or lacks a column.
  """
  table = csv.DictReader(io.StringIO(text_files.read(path), newline=''))
  names = table.fieldnames or ()
  column = next((name for name in _CAPTION_COLUMNS if name in names), None)
  if column is None or 'image_id' not in names:
    raise ValueError(
      f'{path} must have columns image_id and caption, got {list(names)}'
    )
  for number, cells in enumerate(table, 1):
    yield f'row {number}', _number(cells['image_id']), cells[column] or ''


def _first_captions(path):
  """Yields (place, image id, caption) of COCO's file.

  Raises:
    ValueError: the file cannot be read, or is another file.
  """
  content = benchmark_files.read_object(path, 'annotations', list)
  captions = {}
  for value in content['annotations']:
    if isinstance(value, dict) and isinstance(value.get('caption'), str):
      captions.setdefault(value.get('image_id'), value['caption'])
  numbers = sorted(number for number in captions if isinstance(number, int))
  if not numbers:
    raise ValueError(f'{path} must have captions of images, got none')
  if len(numbers) > _COUNT:
    numbers = sorted(random.Random(_SEED).sample(numbers, _COUNT))
  for number in numbers:
    yield f'image {number}', number, captions[number]


def _number(text) -> int | str:
  return int(text) if (text or '').isdigit() else str(text)


def _real_image(folder, number):
  """Returns the path of a real image.

  Raises:
    ValueError: it does not exist.
  """
  if not isinstance(number, int):
    return folder.find(number, 'image_id')
  return benchmark_files.coco_image(folder, number, 'val2014')
