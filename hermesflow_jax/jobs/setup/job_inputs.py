"""Image-caption inputs of a job, from the embedded world or from files."""

from collections.abc import Container
from collections.abc import Sequence
import itertools
import json
import pathlib

import numpy as np

from hermesflow_jax.checkpoints import fingerprints
from hermesflow_jax.data import image_encoding
from hermesflow_jax.data import input_set
from hermesflow_jax.data import record_files
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.sequences import known_words
from hermesflow_jax.shapes import caption_questions
from hermesflow_jax.shapes import drawing
from hermesflow_jax.shapes import scene_records
from hermesflow_jax.shapes import scene_sampler
from hermesflow_jax.shapes import shape_world

# Number of ids that a warning names.
_LISTED = 10


def read_inputs(
  unified: unified_model.UnifiedModel,
  files: record_files.Source | None,
  world: shape_world.World,
  split: str,
  seed: int,
  count: int,
  data_dir: str,
  console: terminal.Console,
) -> list[dict]:
  """Generates or reads inputs, and encodes their images once.

  Args:
    unified: model with the image tokenizer.
    files: source files; None for the embedded world.
    world: the embedded world.
    split: embedded world split.
    seed: scene seed.
    count: input count; fewer if records with faults may be skipped.
    data_dir: folder that keeps the encoded inputs.
    console: reports records that are skipped.

  Returns:
    Records with `id`, `caption`, `questions` and codes.

  Raises:
    ValueError: the files hold fewer records, and none may be skipped.
  """
  if not files:
    return scene_records.load_scenes(
      data_dir, split, seed, count, world.jitter, unified
    )
  size = unified.grid[0] * unified.tokenizer.reduction
  identity = json.dumps(fingerprints.fingerprint(unified.tokenizer))

  def check(record):
    for question in record['questions']:
      unified.check_question(question)

  rows = image_encoding.load_encoded(
    files,
    size,
    unified,
    storage.path(data_dir),
    identity,
    console.say,
    count,
    check,
  )
  _check_count(files, len(rows), count)
  report_misread(unified, rows, console)
  return rows


def report_misread(
  unified: unified_model.UnifiedModel,
  rows: Sequence[dict],
  console: terminal.Console,
) -> None:
  """Warns of captions that are too long, and of words that are not known.

  Args:
    unified: model that reads the records.
    rows: records with id, caption and questions.
    console: prints the warnings.
  """
  cut = [r['id'] for r in rows if unified.read_to(r['caption']) is not None]
  if cut:
    more = f' and {len(cut) - _LISTED} more' if len(cut) > _LISTED else ''
    console.say(
      f'warning: {len(cut)} captions are too long; the model reads only their '
      f'beginning: {", ".join(cut[:_LISTED])}{more}'
    )
  texts = [r['caption'] for r in rows]
  for question in itertools.chain(*(r['questions'] for r in rows)):
    texts += [question['question'], *question['choices']]
  if warning := known_words.unknown_warning(unified.text, texts):
    console.say(warning)


def report_unused(
  files: record_files.Source,
  records: int,
  count: int,
  console: terminal.Console,
) -> None:
  """Prints the number of records in files that are not used, if any.

  Args:
    files: source files.
    records: their record count.
    count: records that are used, the first by id.
    console: prints the line.

  Raises:
    ValueError: the files hold fewer records, and none may be skipped.
  """
  _check_count(files, records, count)
  if records > count:
    console.say(
      f'{files.annotations} has {records} records: the first {count} by id '
      f'are used, {records - count} are not'
    )


def check_files(
  sources: Sequence[tuple[record_files.Source, int]], console: terminal.Console
) -> tuple[list[dict], list[pathlib.PurePath]]:
  """Checks files of inputs and files of held-out records.

  Args:
    sources: (files, number of records that are used); [] for none.
    console: prints how many records are unused, and which are used twice.

  Returns:
    SHA-256 for each of the sources, and all image files.

  Raises:
    ValueError: a file cannot be used; the error names the faults of all files.
  """
  records, hashes, faults = [], [], []
  for source, count in sources:
    try:
      rows = record_files.open_records(source, opened=count)
    except ValueError as error:
      faults.append(str(error))
      continue
    report_unused(source, len(rows), count, console)
    records.append(rows[:count])
    hashes.append(record_files.file_hashes(source))
  if faults:
    raise ValueError('; '.join(faults))
  if records:
    report_overlap(*records, console)
  return hashes, [row['path'] for rows in records for row in rows]


def _check_count(files, records, count):
  """Raises ValueError for too few records, unless some may be skipped."""
  if records < count and files.on_error == 'raise':
    raise ValueError(
      f'{files.annotations} must have {count} records, got {records}; add '
      'records, or give a smaller --config.inputs or --config.held_out'
    )


def report_overlap(
  inputs: Sequence[dict], held_out: Sequence[dict], console: terminal.Console
) -> None:
  """Prints the number of held-out records that are also inputs, if any.

  Args:
    inputs: records for learning, from `record_files.read_records`.
    held_out: records for evaluation.
    console: prints the line.

  Raises:
    ValueError: all held-out records have the id and the caption of an input.
  """

  def values(records, *names):
    return [tuple(str(record[name]) for name in names) for record in records]

  known = set(values(inputs, 'id', 'caption'))
  if all(value in known for value in values(held_out, 'id', 'caption')):
    raise ValueError(
      'files.held_out must hold records that are not inputs, got '
      f'{len(held_out)} records that all have the id and the caption of an '
      'input; give other records for the evaluation'
    )
  counts = {}
  for field, label in (
    ('id', 'id'),
    ('path', 'image file'),
    ('caption', 'caption'),
  ):
    known = set(values(inputs, field))
    counts[label] = sum(value in known for value in values(held_out, field))
  if any(counts.values()):
    console.say(
      f'warning: of {len(held_out)} held-out records '
      + ', '.join(
        f'{n} have the {label} of an input' for label, n in counts.items() if n
      )
    )


def new_caption_subset(
  held_out: input_set.Inputs, known: Container[str]
) -> input_set.Inputs | None:
  """Returns the held-out inputs whose captions are new.

  Args:
    held_out: inputs for evaluation.
    known: captions in the inputs for learning.

  Returns:
    At least two inputs; None if all captions are new, or fewer than two.
  """
  places = [
    n for n, caption in enumerate(held_out.captions) if caption not in known
  ]
  if len(places) < 2 or len(places) == len(held_out):
    return None
  return held_out.select(places)


def unseen_scenes(
  unified: unified_model.UnifiedModel,
  world: shape_world.World,
  split: str,
  seed: int,
  first: int,
  count: int,
  known: Container[str],
) -> input_set.Inputs | None:
  """Returns scenes of the embedded world with captions that no input has.

  Simple captions are few, and inputs have them all, so the kinds of captions
  are not equally frequent in these scenes.

  Args:
    unified: model with the image tokenizer.
    world: the embedded world.
    split: embedded world split.
    seed: scene seed.
    first: first scene index to consider.
    count: scene count; 0 returns None.
    known: captions in the inputs for learning.

  Raises:
    ValueError: the next 1,000 * `count` scenes have too few new captions.
  """
  scenes = {}
  for index in range(first, first + 1_000 * count):
    if len(scenes) == count:
      break
    scene = scene_sampler.sample_scene(split, seed, index, world.jitter)
    if scene.caption not in known:
      scenes[scene_sampler.scene_id(split, seed, index)] = scene
  if len(scenes) < count:
    raise ValueError(
      f'unseen must be at most {len(scenes)}, got {count}: the inputs already '
      'have nearly all captions; give a smaller number'
    )
  if not scenes:
    return None
  images = np.stack([drawing.render(scene) for scene in scenes.values()])
  return input_set.Inputs(
    ids=list(scenes),
    captions=[scene.caption for scene in scenes.values()],
    tags=[scene.tag for scene in scenes.values()],
    questions=[
      caption_questions.questions_of_caption(name, scene.caption)
      for name, scene in scenes.items()
    ],
    codes=unified.encode(images),
  )
