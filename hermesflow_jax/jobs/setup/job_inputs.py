"""Image-caption inputs of a job, from the embedded world or from files."""

from collections.abc import Container
import functools
import json

import numpy as np

from hermesflow_jax.checkpoints import fingerprints
from hermesflow_jax.data import image_encoding
from hermesflow_jax.data import input_set
from hermesflow_jax.data import lazy_images
from hermesflow_jax.data import record_files
from hermesflow_jax.jobs.setup import record_checks
from hermesflow_jax.jobs.setup import vision_tower
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.shapes import caption_questions
from hermesflow_jax.shapes import drawing
from hermesflow_jax.shapes import scene_records
from hermesflow_jax.shapes import scene_sampler
from hermesflow_jax.shapes import shape_world

# Added to the seed of the world. Inputs have the seed itself, and held-out
# scenes of the same split the next.
_ANSWER_SEED = 2


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
    Records with `id`, `caption`, `questions` and codes; for a model that reads
    pixels also `pixels`, see `image_encoding.load_encoded`.

  Raises:
    ValueError: the files hold fewer records, and none may be skipped.
  """
  if not files:
    return scene_records.load_scenes(
      data_dir, split, seed, count, world.jitter, unified
    )
  size = unified.grid[0] * unified.tokenizer.reduction
  identity = json.dumps(fingerprints.fingerprint(unified.tokenizer))
  rows = image_encoding.load_encoded(
    files,
    size,
    unified,
    storage.path(data_dir),
    identity,
    console.say,
    count,
    functools.partial(record_checks.check_questions, unified),
    vision_tower.pixel_size(unified),
  )
  record_checks.check_count(files, len(rows), count)
  record_checks.report_misread(unified, rows, console)
  return rows


def check_answer_inputs(count: int, files: object) -> None:
  """Raises ValueError for scenes that a job on files has no world for.

  Args:
    count: setting `answer_inputs`.
    files: setting `files`; None for the embedded world.
  """
  if count and files:
    raise ValueError(
      f'answer_inputs must be 0 with files, got {count}; the questions of all '
      'inputs are learned from, so give more --config.inputs'
    )


def answer_scenes(
  unified: unified_model.UnifiedModel,
  world: shape_world.World,
  count: int,
  data_dir: str,
) -> input_set.Inputs | None:
  """Returns scenes whose questions the answer term learns from.

  No round has them as inputs, whatever the number of rounds.

  Args:
    unified: model with the image tokenizer.
    world: the embedded world.
    count: scene count; 0 returns None.
    data_dir: folder that keeps the encoded scenes.
  """
  if not count:
    return None
  seed = world.seed + _ANSWER_SEED
  return input_set.from_records(
    scene_records.load_scenes(
      data_dir, 'preference', seed, count, world.jitter, unified
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
  pixels = None
  if unified.vision is not None:
    pixels = lazy_images.LazyImages(
      [functools.partial(drawing.render, scene) for scene in scenes.values()]
    )
  return input_set.Inputs(
    ids=list(scenes),
    captions=[scene.caption for scene in scenes.values()],
    tags=[scene.tag for scene in scenes.values()],
    questions=[
      caption_questions.questions_of_caption(name, scene.caption)
      for name, scene in scenes.items()
    ],
    codes=unified.encode(images),
    pixels=pixels,
  )
