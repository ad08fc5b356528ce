"""What several jobs need: the mesh, a world, a folder, a resumable run."""

import contextlib
import json
import reprlib

from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal


def claim_workdir(
  workdir: str, config, console: terminal.Console, **identity
) -> None:
  """Marks a folder as this run's, or checks that it is.

  `settings.json` holds the settings of the newest start. What `settings.not_identity`
  declares may change from start to start.

  Args:
    workdir: the folder; made if it is not there.
    config: the settings, a dataclass.
    console: says that a run resumes, and which settings changed.
    **identity: what else makes the run what it is; JSON types.

  Raises:
    ValueError: it cannot be written, or belongs to something else, or to a
      run of other settings, all of which are named.
  """
  changes = processes.broadcast_from_first(
    lambda: _claimed(workdir, config, identity)
  )
  if changes is not None:
    console.say('; '.join([f'resuming in {workdir}', *changes]))


def _claimed(workdir, config, identity) -> list[str] | None:
  """Does the work of `claim_workdir`; what changed if the run is there already."""
  root = storage.path(workdir)
  path = root / 'settings.json'
  record = settings.to_json_types(config) | json.loads(json.dumps(identity))
  try:
    storage.make_folder(root)
    # A start that was killed may have left its temporary file.
    if all(name == 'settings.json.tmp' for name in storage.list_names(root)):
      if _first_writes(path, json.dumps(record, indent=1) + '\n'):
        return None
    storage.check_writable(root)
    found = json.loads(path.read_text()) if path.exists() else None
    if not isinstance(found, dict):
      raise ValueError('it holds files of something else')
    kind = type(config)
    different = sorted(
      _differences(
        settings.identity(kind, found), settings.identity(kind, record)
      )
    )
    if different:
      raise ValueError(
        'it belongs to a run of other settings: ' + ', '.join(different)
      )
    if found != record:
      # Of processes that start at once one may have moved the file away.
      with contextlib.suppress(FileNotFoundError):
        output_files.write_atomically(path, json.dumps(record, indent=1) + '\n')
  except (*storage.failures(), ValueError) as error:
    raise ValueError(
      f'workdir {root} cannot be used: {error}; give another --workdir'
    ) from error
  # An earlier release may have had other settings.
  return sorted(_differences(found, record, keys=set.intersection))


def _first_writes(path, text) -> bool:
  """Writes the settings of a new run; whether no other did meanwhile."""
  if not storage.is_local(path):
    return storage.create(path, text.encode())
  # Of processes that start at once one may have moved the file away.
  with contextlib.suppress(FileNotFoundError):
    output_files.write_atomically(path, text)
    return True
  return False


def check_writable(folder: str) -> None:
  """Makes a folder; ValueError if that fails or nothing can be written there."""
  folder = storage.path(folder)
  try:
    storage.make_folder(folder)
  except OSError as error:
    raise ValueError(f'folder {folder} cannot be made: {error}') from error
  try:
    storage.check_writable(folder)
  except storage.failures() as error:
    raise ValueError(f'folder {folder} cannot be used: {error}') from error


def _differences(a, b, name='config', keys=set.union):
  if isinstance(a, dict) and isinstance(b, dict):
    for key in keys(set(a), b):
      yield from _differences(a.get(key), b.get(key), f'{name}.{key}', keys)
  elif a != b:
    yield f'{name} {reprlib.repr(a)} -> {reprlib.repr(b)}'
