"""Job start: initial model, claimed folder, results from a finished run."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import json
import pathlib
from typing import Any

from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal

with lazy_modules.on_first_use():
  from hermesflow_jax.checkpoints import checkpoint
  from hermesflow_jax.data import image_folder
  from hermesflow_jax.data import record_files
  from hermesflow_jax.data import task_sources
  from hermesflow_jax.jobs.setup import job_model

releases_workdir = workdir_claim.releases_workdir


def locate_model(
  config: job_model.ModelSettings,
  console: terminal.Console,
  sources: Mapping[str, record_files.Source | None],
) -> pathlib.PurePath:
  """Returns the model folder, see `job_model.locate`.

  If there is none, data that cannot be opened stand in the same error.

  Args:
    config: job settings.
    console: see `job_model.locate`.
    sources: data by setting; None for none.

  Raises:
    ValueError: see `job_model.locate`.
  """
  try:
    return job_model.locate(config, console)
  except ValueError as error:
    faults = [str(error)]
    for name, source in sources.items():
      try:
        if source is not None:
          task_sources.check_named(name, source)
          record_files.open_rows(source)
      except ValueError as fault:
        faults.append(str(fault))
    raise ValueError('; '.join(faults)) from error


def input_hashes(
  text: str, images: Sequence[pathlib.PurePath] = ()
) -> dict[str, Callable]:
  """Returns `contents` of `workdir_claim.claim_workdir`.

  Args:
    text: SHA-256 of the text tokenizer. The first process alone calls the
      functions that are returned, so they read no model.
    images: image files that the run reads.
  """
  hashes = {'text_tokenizer': lambda: text}
  if images:
    hashes['image_files'] = lambda: image_folder.content_hash(images)
  return hashes


def claim_and_read_results(
  workdir: str,
  config,
  console: terminal.Console,
  file: str,
  is_complete: Callable[[Any], bool] = lambda results: True,
  **claim,
) -> dict | list | None:
  """Claims the run folder; returns the results if the run is finished.

  Args:
    workdir: run folder.
    config: job settings, a dataclass.
    console: prints that a run resumes.
    file: results file, which a job writes last: `.json`, or
      `.jsonl` with an object per line.
    is_complete: see `read_results`.
    **claim: further arguments of `workdir_claim.claim_workdir`, e.g. hashes of
      inputs.

  Returns:
    Results; None if the run is not finished, or its results are damaged.

  Raises:
    ValueError: the folder cannot be written, or holds another run.
  """
  path = storage.path(workdir) / file
  if path.exists():
    # Whether anything is left to do is known later.
    claim['opening'] = 'results exist in'
  workdir_claim.claim_workdir(workdir, config, console, **claim)

  def read():
    try:
      return read_results(path, is_complete)
    except ValueError as error:
      console.say(f'{error}: it is made again')
      return None

  return processes.broadcast_from_first(read)


def read_results(
  path: pathlib.PurePath,
  is_complete: Callable[[Any], bool] = lambda results: True,
) -> dict | list | None:
  """Reads a `.json` or `.jsonl` file; returns None without a file.

  Args:
    path: results file: an object, or an object per line.
    is_complete: whether results have the values that the job reads, with their
      types.

  Raises:
    ValueError: the file is damaged.
  """
  if not path.exists():
    return None
  try:
    text = path.read_bytes().decode()
    if path.suffix == '.jsonl':
      # Not `splitlines`: a text may hold U+2028, which also ends a line.
      results = [json.loads(line) for line in text.split('\n') if line]
    else:
      results = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise ValueError(f'{path} is damaged ({error})') from error
  rows = results if path.suffix == '.jsonl' else [results]
  if not rows or not all(isinstance(row, dict) for row in rows):
    raise ValueError(f'{path} is damaged (it holds no results)')
  if not is_complete(results):
    raise ValueError(
      f'{path} is damaged (a value is missing, or has another type)'
    )
  return results


def has_rows(
  path: pathlib.PurePath,
  count: int,
  is_complete: Callable[[Any], bool] = lambda results: True,
) -> bool:
  """Returns whether a `.jsonl` file exists, is undamaged and has all rows.

  Args:
    path: results file.
    count: expected number of rows.
    is_complete: see `read_results`.
  """
  try:
    rows = read_results(path, is_complete)
  except ValueError:
    return False
  return rows is not None and len(rows) == count


def all_exist(
  console: terminal.Console,
  list_missing: Callable[[], list],
  model: pathlib.PurePath | None = None,
) -> bool:
  """Returns whether a finished run has all its results; all processes call it.

  Args:
    console: prints which results are made again.
    list_missing: returns the files and folders that are gone or damaged.
    model: model folder that the run has trained; None for none.
  """
  missing = []
  if model is not None and read_model_notes(model) is None:
    missing = [str(model)]
  missing += processes.broadcast_from_first(
    lambda: [str(path) for path in list_missing()]
  )
  if missing:
    report_missing(console, missing)
  return not missing


def read_model_notes(folder: pathlib.PurePath) -> dict | None:
  """Returns the record of a model that a run has trained.

  All processes call it. The arrays are not read.

  Args:
    folder: model folder.

  Returns:
    The record; {} for a bundle, which earlier releases wrote; None if the model
    is gone, or its record is damaged.
  """
  notes = None
  if processes.broadcast_from_first((folder / 'config.json').is_file):
    notes = {}
  elif processes.broadcast_from_first(lambda: checkpoint.exists(folder)):
    try:
      notes = checkpoint.read_metadata(str(folder))
    except (ValueError, OSError):
      notes = None
  return notes if processes.all_true(isinstance(notes, dict)) else None


def report_missing(console: terminal.Console, missing: Sequence[str]) -> None:
  """Prints which results of a finished run are made again.

  Args:
    console: prints the line.
    missing: files and folders that are gone or damaged, at least one.
  """
  more = f' and {len(missing) - 1} more are' if len(missing) > 1 else ' is'
  console.say(f'{missing[0]}{more} gone or damaged: making this again')


def report_finished(
  console: terminal.Console,
  workdir: str,
  location: pathlib.PurePath,
  advice: str = '',
) -> None:
  """Prints that a run is finished, and how to start another run.

  Args:
    console: prints the line.
    workdir: run folder.
    location: file or folder to look at.
    advice: another way to continue, or ''.
  """
  console.say(
    f'this run is finished: see {location}; {advice}to start afresh, remove '
    f'{storage.path(workdir)} or give another --workdir'
  )
