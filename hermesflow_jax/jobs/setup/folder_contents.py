"""Content of a run folder: files of systems, settings, caches, results."""

import fnmatch
import itertools
import pathlib
import re

from hermesflow_jax.runtime import folder_lock
from hermesflow_jax.runtime import storage

SETTINGS = 'settings.json'
# Locks that processes hold for a moment: at their start, and at the end of a
# curation.
START, FINISH = 'start', 'finish'
# Names that file systems, desktops and shells leave in folders: they belong to
# nobody.
_OF_SYSTEMS = (
  'lost+found',
  '.DS_Store',
  '.localized',
  '.directory',
  '.fseventsd',
  '.Spotlight-V100',
  '.Trash*',
  '.nfs*',
  '.snapshot*',
  '.zfs',
  '._*',
  '.fuse_hidden*',
  '.gitkeep',
  '.gitignore',
  '.ipynb_checkpoints',
  '__MACOSX',
  '@eaDir',
  'Thumbs.db',
  'ehthumbs.db',
  'desktop.ini',
  '$RECYCLE.BIN',
  'System Volume Information',
  # Standard output that the user redirects into the folder.
  'log.txt',
  'nohup.out',
  'slurm-*.out',
  '*.log',
)
# Files of settings that a killed start has not finished.
UNFINISHED = f'{SETTINGS}*.tmp'
# Files of a start, and caches, whose names or contents say what they are of.
_OF_START = (SETTINGS, UNFINISHED, 'data', f'*{folder_lock.SUFFIX}')
# Metrics of steps. A step counts once a checkpoint holds it.
_OF_STEPS = ('metrics.jsonl', 'events', 'profile', '*.orbax-checkpoint-tmp*')
# Folders of checkpoints.
_CHECKPOINTS = frozenset(
  ('checkpoints', 'checkpoint', 'steps', 'model', 'adapters')
)
# Settings that every run has, at least one of them.
_OF_EVERY_RUN = ('mesh', 'self_play', 'caption_tokens')
# Files that a message names.
_SHOWN = 3


def names_of_jobs(root: pathlib.PurePath) -> list[str]:
  """Returns the sorted names in a folder, without those of systems.

  Args:
    root: folder path.
  """
  return sorted(
    name for name in storage.list_names(root) if not _matches(name, _OF_SYSTEMS)
  )


def is_fresh(root: pathlib.PurePath) -> bool:
  """Returns whether a folder has no content, or does not exist.

  A killed start may have left a lock, or the temporary file of its settings; a
  full disk may have left settings without content.

  Args:
    root: folder path.
  """
  names = {
    name
    for name in names_of_jobs(root)
    if not _matches(name, (UNFINISHED, f'*{folder_lock.SUFFIX}'))
  }
  if names == {SETTINGS} and storage.is_local(root):
    return not (root / SETTINGS).stat().st_size
  return not names


def has_only_start(root: pathlib.PurePath) -> bool:
  """Returns whether a folder holds no more than a start leaves.

  Args:
    root: folder path.
  """
  return all(_matches(name, _OF_START) for name in names_of_jobs(root))


def has_results(root: pathlib.PurePath) -> bool:
  """Returns whether a folder, or a folder in it, holds results of work.

  Settings, caches, and metrics of steps without a checkpoint are none.

  Args:
    root: folder path.
  """
  ignored = _OF_SYSTEMS + _OF_START + _OF_STEPS
  return any(
    not any(_matches(part, ignored) for part in pathlib.PurePath(file).parts)
    for file in storage.list_files(root)
  )


def has_checkpoints(root: pathlib.PurePath) -> bool:
  """Returns whether a folder holds a checkpoint or adapters, at any depth.

  Args:
    root: folder path.
  """
  for file in storage.list_files(root):
    folders = pathlib.PurePath(file).parts[:-1]
    if any(_matches(folder, _OF_STEPS) for folder in folders):
      continue
    if not _CHECKPOINTS.isdisjoint(folders):
      return True
  return False


def is_record(saved: object) -> bool:
  """Returns whether a JSON value may be the settings of a run.

  Args:
    saved: content of a `settings.json`, which other programs write as well.
  """
  return isinstance(saved, dict) and not saved.keys().isdisjoint(_OF_EVERY_RUN)


def list_foreign(root: pathlib.PurePath) -> str:
  """Returns the first names in a folder that no job wrote, as text.

  Args:
    root: folder path.
  """
  names = [
    name
    for name in names_of_jobs(root)
    if not name.endswith(folder_lock.SUFFIX)
  ]
  shown = ', '.join(names[:_SHOWN])
  more = len(names) - _SHOWN
  return shown + (f' and {more} more' if more > 0 else '')


def missing_folders(root: pathlib.PurePath) -> list[pathlib.PurePath]:
  """Returns the local folders that are made with a folder, the deepest first.

  Args:
    root: folder path.
  """
  if not storage.is_local(root):
    return []
  return list(
    itertools.takewhile(lambda p: not p.exists(), (root, *root.parents))
  )


def other_locks(root: pathlib.PurePath, group: str) -> list[pathlib.PurePath]:
  """Returns the lock files in a folder that are not of a group.

  Args:
    root: folder path.
    group: lock names `<group>` and `<group>_<number>` are left out.
  """
  own = re.compile(
    rf'({START}|{FINISH}|{re.escape(group)}(_\d+)?){folder_lock.SUFFIX}'
  )
  return [
    root / name
    for name in names_of_jobs(root)
    if name.endswith(folder_lock.SUFFIX) and not own.fullmatch(name)
  ]


def _matches(name, patterns) -> bool:
  return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
