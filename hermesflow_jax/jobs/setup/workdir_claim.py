"""Run folders: a folder belongs to a single run, which may resume in it."""

import contextlib
import json

from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import user_text


def claim_workdir(
  workdir: str, config, console: terminal.Console, **identity
) -> None:
  """Claims a folder for this run, or checks that it belongs to this run.

  `settings.json` in the folder holds the settings of the newest start.
  Only settings declared with `settings.may_change_on_resume` may change between
  starts.

  Args:
    workdir: folder path, which is made if it does not exist.
    config: run settings, a dataclass.
    console: reports that a run resumes, and the settings that changed.
    **identity: further values that identify the run, e.g. hashes; JSON types.

  Raises:
    ValueError: the folder cannot be written, holds other files, or belongs to
      a run with other settings, which are all named.
  """
  user_text.check('workdir', workdir)
  changes = processes.broadcast_from_first(
    lambda: _claimed(workdir, config, identity)
  )
  if changes is not None:
    console.say('; '.join([f'resuming in {workdir}', *changes]))


def _claimed(workdir, config, identity) -> list[str] | None:
  """Returns changed settings if the run resumes; None for a new run."""
  root = storage.path(workdir)
  path = root / 'settings.json'
  record = settings.to_json_types(config) | json.loads(json.dumps(identity))
  try:
    storage.make_folder(root)
    # A killed start may have left its temporary file.
    empty = set(storage.list_names(root)) <= {'settings.json.tmp'}
    if empty and _first_writes(path, json.dumps(record, indent=1) + '\n'):
      return None
    storage.check_writable(root)
    saved = json.loads(path.read_text()) if path.exists() else None
    if not isinstance(saved, dict):
      raise ValueError('it holds files that are not from a run')
    kind = type(config)
    different = sorted(
      identities.differences(
        identities.identity_of(kind, saved),
        identities.identity_of(kind, record),
      )
    )
    if different:
      raise ValueError(
        'it belongs to a run with other settings: ' + ', '.join(different)
      )
    if saved != record:
      # Another process may start at once and rename its temporary file.
      with contextlib.suppress(FileNotFoundError):
        output_files.write_atomically(path, json.dumps(record, indent=1) + '\n')
  except (*storage.failures(), ValueError) as error:
    raise ValueError(
      f'workdir {root} cannot be used: {error}; give another --workdir'
    ) from error
  # An earlier release may have had other settings.
  return sorted(identities.differences(saved, record, keys=set.intersection))


def _first_writes(path, text) -> bool:
  """Writes the settings of a new run, unless another process did.

  Returns:
    Whether this process wrote them.
  """
  if not storage.is_local(path):
    return storage.create(path, text.encode())
  # Another process may start at once and rename its temporary file.
  with contextlib.suppress(FileNotFoundError):
    output_files.write_atomically(path, text)
    return True
  return False


def check_writable(folder: str) -> None:
  """Makes a folder and checks that files can be written into it.

  Args:
    folder: folder path.

  Raises:
    ValueError: the folder cannot be made or written.
  """
  folder = storage.path(folder)
  try:
    storage.make_folder(folder)
  except OSError as error:
    raise ValueError(f'folder {folder} cannot be made: {error}') from error
  try:
    storage.check_writable(folder)
  except storage.failures() as error:
    raise ValueError(f'folder {folder} cannot be used: {error}') from error
