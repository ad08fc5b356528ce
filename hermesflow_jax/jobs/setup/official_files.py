"""Files of pairs for the official code, also of a run that is finished."""

from collections.abc import Callable
from collections.abc import Iterator
import functools
import pathlib

import numpy as np

from hermesflow_jax.curation import official_pair_writer
from hermesflow_jax.curation import pair_files
from hermesflow_jax.data import input_set
from hermesflow_jax.data import record_files
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.self_play import play_settings


def make_writer(
  files: record_files.Source | None, console: terminal.Console
) -> Callable:
  """Returns a function that writes pairs for the official code.

  Args:
    files: source of the inputs; None for the embedded world.
    console: prints how many records were written.

  Returns:
    (folder, inputs, pairs, decode) -> None, see
    `official_pair_writer.write_official`.
  """
  known = files and official_pair_writer.official_fields(
    record_files.open_records(files)
  )
  return functools.partial(
    official_pair_writer.write_official, say=console.say, copied=known
  )


def is_missing(folder: pathlib.PurePath) -> bool:
  """Returns whether a folder has no official file; all processes call it.

  Args:
    folder: curation folder, or a `round_<r>` of `pair_dpo`.
  """
  file = folder / official_pair_writer.NAME
  return not processes.broadcast_from_first(file.exists)


def write_of_curation(
  folder: pathlib.PurePath,
  files: record_files.Source | None,
  decode: Callable[[np.ndarray], np.ndarray],
  console: terminal.Console,
) -> None:
  """Writes official files of a finished curation from its `pairs.jsonl`.

  Args:
    folder: curation folder.
    files: source of the inputs; None for the embedded world.
    decode: codes int32[B, I] -> images uint8[B, H, W, 3].
    console: prints how many records were written.

  Raises:
    ValueError: an earlier release wrote the pairs, without the inputs.
  """
  inputs = input_set.from_records(disk_objects.keep(_inputs_of_pairs(folder)))
  pairs = pair_files.read_pairs(folder)
  make_writer(files, console)(folder, inputs, pairs, decode)


def _inputs_of_pairs(folder) -> Iterator[dict]:
  """Yields the inputs in a curation's `pairs.jsonl`."""
  for row in pair_files.read_rows(folder):
    if not {'caption', 'codes'} <= row.keys():
      raise ValueError(
        f'official must be False for the pairs in {folder}, got True: an '
        'earlier release wrote them without their inputs; give another '
        '--workdir'
      )
    yield {
      'id': row['id'],
      'caption': row['caption'],
      'tag': '',
      'questions': [],
      'codes': np.array(row['codes'], np.int32),
    }


def write_of_rounds(
  root: pathlib.PurePath,
  rounds: int,
  load_data: Callable[
    [], tuple[unified_model.UnifiedModel, play_settings.PlayData]
  ],
) -> None:
  """Writes official files of finished rounds that have none.

  Args:
    root: run folder of `pair_dpo`.
    rounds: finished rounds.
    load_data: returns the base model, which decodes images, and the data of the
      run; called only if a round has no files.
  """
  folders = {n: root / f'round_{n}' for n in range(1, rounds + 1)}
  missing = [n for n, folder in folders.items() if is_missing(folder)]
  if not missing:
    return
  base, data = load_data()
  for number in missing:
    data.publish(
      folders[number],
      data.inputs[number - 1],
      pair_files.read_pairs(folders[number]),
      base.decode,
    )
