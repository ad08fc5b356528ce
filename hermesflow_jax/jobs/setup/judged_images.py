"""Images of a finished run with their questions, for another judge.

A row is a JSON object about an image: `part` of the run, `input`, `questions`
(with ids of `judging.question_files`), and what the run measured of it. Rows
stand in the run folder, as they have the right answers.
"""

from collections.abc import Iterator
import dataclasses
import io
import json
import pathlib

import numpy as np

from hermesflow_jax.curation import pair_files
from hermesflow_jax.data import input_set
from hermesflow_jax.jobs import curate
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import job_start
from hermesflow_jax.judging import judge_settings
from hermesflow_jax.judging import question_files
from hermesflow_jax.runtime import npz_files
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import scored_images

# Images that are decoded at once.
_BLOCK = 256
# Fields of the rows of `scenes.jsonl` that a row keeps.
_OF_SCENES = ('similarity', 'answers', 'judged', 'own')


def open_run(folder: str, setting: str) -> tuple[pathlib.PurePath, object]:
  """Returns the folder and the settings of a finished run.

  Args:
    folder: folder of `pair_dpo` or `curate`.
    setting: name of the setting, for errors.

  Raises:
    ValueError: no such run, or it is not finished.
  """
  root = storage.path(folder) if folder else None
  expected = f'{setting} must be the folder of a finished pair_dpo or curate'
  if root is None or not (root / 'settings.json').exists():
    raise ValueError(f'{expected}, got {folder!r}, which holds no run')
  saved = output_files.read_json(root / 'settings.json')
  for kind, field, results in (
    (pair_dpo.Settings, 'play', 'results.json'),
    (curate.Settings, 'shares', 'manifest.json'),
  ):
    if field not in saved:
      continue
    if job_start.read_results(root / results) is None:
      raise ValueError(
        f'{expected}, got {folder}, which is not finished; run its command '
        'again'
      )
    names = {field.name for field in dataclasses.fields(kind)}
    values = {k: v for k, v in saved.items() if k in names}
    return root, settings.build(kind, values, str(root / 'settings.json'))
  raise ValueError(f'{expected}, got {folder}, a run of another job')


def rows(
  root: pathlib.PurePath,
  config,
  pairs: bool,
  target: pathlib.PurePath,
  console: terminal.Console,
) -> list[dict]:
  """Decodes the images of a run, writes them, and returns their rows.

  Args:
    root: run folder.
    config: settings, from `open_run`.
    pairs: whether the winners and losers are judged, too.
    target: folder of questions, for the PNG files.
    console: shows progress.

  Raises:
    ValueError: the model of the run is gone, or a file is damaged.
  """
  path = job_model.locate(config, console)
  mesh = config.mesh.make()
  parts = job_model.load_parts(config, path, mesh)
  base = job_model.place_on_mesh(config, parts, mesh, console)
  out = []
  for part, inputs, codes, facts in _parts(root, config, base, pairs, console):
    for begin in range(0, len(inputs), _BLOCK):
      span = slice(begin, begin + _BLOCK)
      images = scored_images.decode(base, codes[span], _BLOCK)
      questions = inputs.questions[span]
      public_rows = question_files.rows(images, questions)
      question_files.write_images(target, images, public_rows)
      for n, (public, records) in enumerate(zip(public_rows, questions), begin):
        out.append(
          {
            'part': part,
            'input': inputs.ids[n],
            'tag': inputs.tags[n],
            'questions': [
              a | {k: q.get(k, '') for k in ('answer', 'element_type')}
              for a, q in zip(public, records)
            ],
          }
          | facts[n]
        )
  return out


def _parts(root, config, base, pairs, console) -> Iterator[tuple]:
  """Yields (part, inputs, codes of an image per input, facts per input)."""
  if isinstance(config, curate.Settings):
    inputs = curate.read_inputs(config, base, root, console)
    yield from _sides(root, '', inputs)
    return
  # The run's own judge is not public_rows.
  config = dataclasses.replace(config, judge=judge_settings.JudgeSettings())
  data = pair_dpo.play_data(config, base, str(root / 'data'), console)
  rounds = job_start.read_results(root / 'results.json')['rounds']
  for row in rounds:
    folder = f'round_{row["round"]}'
    for name, inputs in (
      ('scenes', data.held_out),
      ('scenes_unseen', data.unseen),
    ):
      if inputs is not None:
        yield f'{folder}/{name}', inputs, *_scenes(root / folder, name, inputs)
    if pairs and row['round']:
      yield from _sides(root, f'{folder}/', data.inputs[row['round'] - 1])


def _scenes(folder, name, inputs):
  path = folder / f'{name}.jsonl'
  with storage.open_text(path) as file:
    scenes = [json.loads(line) for line in file]
  if [scene['id'] for scene in scenes] != list(inputs.ids):
    raise output_files.damaged(path, 'its inputs are not those of the run')
  file = folder / f'{name}.npz'
  try:
    with np.load(io.BytesIO(file.read_bytes())) as arrays:
      codes = arrays['codes']
  except npz_files.DAMAGE as error:
    raise output_files.damaged(file, error) from error
  if len(codes) != len(scenes):
    raise output_files.damaged(file, 'it has other images than the run')
  facts = [
    {key: scene[key] for key in _OF_SCENES if key in scene} for scene in scenes
  ]
  return codes, facts


def _sides(root, folder, inputs: input_set.Inputs):
  """Yields the winners and the losers of the kept image pairs."""
  pairs = pair_files.read_pairs(root / folder if folder else root)
  numbers = [
    n
    for n, name in enumerate(inputs.ids)
    if name in pairs and not pairs[name][1].dropped
  ]
  for side in ('win', 'lose'):
    chosen = [getattr(pairs[inputs.ids[n]][1], side) for n in numbers]
    if chosen:
      yield (
        f'{folder}{side}',
        inputs.select(numbers),
        np.stack([candidate.value for candidate in chosen]),
        [{'self_score': float(candidate.score)} for candidate in chosen],
      )
