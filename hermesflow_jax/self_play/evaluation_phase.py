"""The evaluation phase of a round."""

import hashlib
import io
import json
import pathlib
import time

import numpy as np

from hermesflow_jax.evaluation import gap
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.self_play import play_settings

_SAME_IMAGES = (
  'The base model judges its own images: generation is its own score of '
  'them, so own_score is left out.'
)


def evaluate(
  player: unified_model.UnifiedModel,
  world: play_settings.PlayData,
  config: play_settings.PlayConfig,
  folder: pathlib.PurePath,
  console: terminal.Console,
  learned: bool = True,
) -> dict:
  """Evaluates a model once; later calls read the file.

  Writes `scenes.jsonl` and `scene_statistics.npz`, the same of the unseen captions as
  `scenes_unseen`, then `evaluation.json`, the summary. Where a run plays more
  rounds than it did, new inputs may have captions that were unseen before:
  then the unseen captions are evaluated again, and the rest is kept.

  Args:
    player: the model.
    world: has the inputs and the judge.
    config: says how images are drawn.
    folder: of the files.
    console: hears what is read.
    learned: whether the player is another model than the base.
  """
  done = folder / 'evaluation.json'
  summary = processes.broadcast_from_first(
    lambda: json.loads(done.read_text()) if done.exists() else None
  )
  content = _content(world.unseen)
  known = summary and (summary.get('unseen') or {}).get('content')
  if summary and known == content:
    console.say(f'{folder.name}: evaluation is there')
    return summary | _seen(world)
  began = time.perf_counter()
  judge = None if world.judges_itself(learned) else world.judge

  def measure(inputs):
    return gap.evaluate(
      player,
      inputs,
      config.evaluation_sampler,
      judge,
      world.similarity,
      config.seed,
    )

  if summary:
    console.say(
      f'{folder.name}: the captions that no input has are others than '
      'before, and are evaluated again'
    )
    seconds = summary['seconds']['evaluation']
  else:
    result, seconds = measure(world.held_out), 0.0
    _write_scenes(folder, 'scenes', result, world.held_out)
    summary = gap.summarize(result, world.held_out)
    summary['judge'] = world.judged_by
    if judge is None:
      summary['note'] = _SAME_IMAGES
  summary |= _seen(world) | {'unseen': None}
  if world.unseen:
    result = _of_held_out(folder, world) or measure(world.unseen)
    _write_scenes(folder, 'scenes_unseen', result, world.unseen)
    summary['unseen'] = gap.summarize(result, world.unseen)
    summary['unseen']['content'] = content
  seconds += time.perf_counter() - began
  summary['seconds'] = {'evaluation': seconds}
  output_files.write_atomically(done, output_files.json_text(summary))
  return summary


def _seen(world):
  """How many of the held-out captions are captions of inputs, too."""
  known = world.input_captions
  return {
    'captions_also_of_inputs': sum(
      caption in known for caption in world.held_out.captions
    )
  }


def _content(inputs):
  """A hash of the names of inputs; None for no inputs."""
  if inputs is None:
    return None
  return hashlib.sha256(json.dumps(inputs.ids).encode()).hexdigest()


def _of_held_out(folder, world):
  """The result of unseen captions that are held-out ones, or None."""
  place = {name: n for n, name in enumerate(world.held_out.ids)}
  if not place.keys() >= set(world.unseen.ids):
    return None
  processes.barrier()
  result = _read_scenes(folder, 'scenes', world.held_out)
  return result.select([place[name] for name in world.unseen.ids])


def _write_scenes(folder, name, result, inputs):
  """Writes what a model and its judge answered, and what it drew."""
  columns = {
    'id': inputs.ids,
    'understanding': result.understanding,
    'generation': result.generation,
    'own_score': result.own_score,
    'similarity': result.similarity,
    'caption': result.captions,
    'answers': result.answers,
    'judged': result.judged,
    'own': result.own,
  }
  columns = {
    key: values.tolist() if isinstance(values, np.ndarray) else values
    for key, values in columns.items()
    if values is not None
  }
  rows = [
    dict(zip(columns, row)) for row in zip(*columns.values(), strict=True)
  ]
  output_files.write_atomically(
    folder / f'{name}.jsonl', output_files.json_lines(rows)
  )
  output_files.write_atomically(
    folder / f'{name}.npz', output_files.npz_bytes(codes=result.codes)
  )


def _read_scenes(folder, name, inputs) -> gap.Result:
  """Returns what `_write_scenes` wrote."""
  with storage.open_text(folder / f'{name}.jsonl') as file:
    rows = [json.loads(line) for line in file]
  with np.load(io.BytesIO((folder / f'{name}.npz').read_bytes())) as arrays:
    codes = arrays['codes']

  def column(key):
    return [row[key] for row in rows] if key in rows[0] else None

  return gap.score_answers(
    inputs,
    np.array(column('similarity')),
    codes,
    column('caption'),
    column('answers'),
    column('judged'),
    column('own'),
  )
