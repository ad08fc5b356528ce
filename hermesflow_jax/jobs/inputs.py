"""Image-caption inputs of a job: of the embedded world, or of files."""

import json

from hermesflow_jax import checkpoint
from hermesflow_jax import console as console_lib
from hermesflow_jax import inference
from hermesflow_jax import storage
from hermesflow_jax.data import files as files_lib
from hermesflow_jax.data import shapes_records
from hermesflow_jax.jobs import common


def read(
    unified: inference.Unified, files: files_lib.Source | None,
    world: common.World, split: str, seed: int, count: int, data_dir: str,
    console: console_lib.Console,
) -> list[dict]:
  """Generates or reads (once) and encodes inputs.

  Args:
    unified: for its tokenizer.
    files: where they come from; None for the embedded world.
    world: the embedded world.
    split, seed: which of its scenes.
    count: how many; fewer where some of the files are left out.
    data_dir: where they are kept.
    console: hears what is left out.

  Raises:
    ValueError: the files hold fewer, and none may be left out.
  """
  if not files:
    return shapes_records.load(
        data_dir, split, seed, count, world.jitter, unified
    )
  size = unified.grid[0] * unified.tokenizer.reduction
  identity = json.dumps(checkpoint.fingerprint(unified.tokenizer))

  def check(record):
    for question in record['questions']:
      unified.check_question(question)

  rows = files_lib.load(
      files, size, unified, storage.path(data_dir), identity, console.say,
      count, check,
  )
  if len(rows) < count and files.on_error == 'raise':
    raise ValueError(
        f'{files.annotations} has {len(rows)} records, wanted {count}'
    )
  cut = [r['id'] for r in rows if unified.read_to(r['caption']) is not None]
  if cut:
    console.say(
        f'warning: {len(cut)} captions are too long, and images are drawn of '
        f'their beginning: {", ".join(cut)}'
    )
  return rows
