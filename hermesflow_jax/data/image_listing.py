"""Lists the image files that names, folders and patterns stand for."""

import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import glob
import os
import pathlib
import re

from hermesflow_jax.runtime import disk_names
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import user_text

SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp')
_ACCEPTED = 'images are .png, .jpg, .jpeg and .webp'
# Folders and files that systems write beside images.
_FOREIGN = frozenset({'__macosx', 'thumbs.db', 'desktop.ini', '@eadir'})


def list_images(
  patterns: Sequence[str], say: Callable[[str], None] = lambda line: None
) -> list[str]:
  """Returns image files that match patterns, without repetition, in order.

  Hidden files, such as `._a.png` and `.ipynb_checkpoints/`, are no images
  unless a pattern is their name.

  Args:
    patterns: files, folders (with all images below them) and glob patterns,
      local or in a bucket.
    say: receives a line for each folder with files that are no images, or with
      links to folders.

  Raises:
    ValueError: patterns match no image, which are all named.
  """
  matches, faults = {}, []
  for name in patterns:
    if storage.is_local(storage.path(name)):
      files, passed = _list_local(name)
    else:
      files, passed = _list_bucket(name)
    if passed:
      say(f'{name}: {_counts(passed)} passed over; {_ACCEPTED}')
    if links := unread_links(storage.path(name)):
      say(
        f'{name}: {user_text.counted(len(links), "link")} to folders or '
        f'nowhere passed over, e.g. {links[0]}; give their targets as well'
      )
    if not files:
      faults.append(name + (f', which has {_counts(passed)}' if passed else ''))
    matches |= dict.fromkeys(files)
  if faults:
    raise ValueError(
      f'images must name existing image files, got {"; ".join(faults)}; give a '
      f'file, a folder or a glob pattern; {_ACCEPTED}'
    )
  return list(matches)


def list_folder(
  folder: pathlib.PurePath,
) -> tuple[Sequence[str], Sequence[str]]:
  """Returns (images, other files) below a folder as sorted relative names.

  Many lie in a file, see `disk_objects`.

  Args:
    folder: the folder, a `storage.path`.
  """
  images, others = disk_objects.Store(), disk_objects.Store()
  names = filter(_visible, storage.list_files(folder))
  for name in disk_names.in_order(names):
    suffix = pathlib.PurePath(name).suffix.lower()
    (images if suffix in SUFFIXES else others).add(name)
  return images.values(), others.values()


def unread_links(folder: pathlib.PurePath) -> list[str]:
  """Returns the links below a local folder that lead to folders or nowhere.

  `list_folder` does not list them.

  Args:
    folder: the folder, a `storage.path`; [] for a folder of a bucket.
  """
  if not storage.is_local(folder):
    return []
  paths = (
    os.path.join(root, name)
    for root, folders, files in os.walk(folder)
    for name in filter(_visible, [*folders, *files])
  )
  return sorted(
    os.path.relpath(path, folder)
    for path in paths
    if os.path.islink(path) and not os.path.isfile(path)
  )


def _list_local(name: str) -> tuple[list[str], list[str]]:
  """Returns (images, other files) of a local name."""
  name = os.path.expanduser(name)
  if os.path.isdir(name):
    root = pathlib.Path(name)
    files = (path for path in root.rglob('*') if path.is_file())
    return _divided(root, sorted(str(p.relative_to(root)) for p in files))
  if os.path.exists(name):
    return [name], []
  files = filter(os.path.isfile, glob.glob(name, recursive=True))
  return _visible_matches(name, sorted(files)), []


def _list_bucket(pattern: str) -> tuple[list[str], list[str]]:
  """Returns (images, other files) of a name in a bucket."""
  path = storage.path(pattern)
  if '*' in pattern:
    return _visible_matches(pattern, storage.glob(pattern)), []
  if not path.is_dir():
    return ([pattern] if path.exists() else []), []
  return _divided(path, sorted(storage.list_files(path)))


def _divided(root, names: Iterable[str]) -> tuple[list[str], list[str]]:
  """Returns (images, other files) of visible names below a folder."""
  images, others = [], []
  for name in filter(_visible, names):
    suffix = pathlib.PurePath(name).suffix.lower()
    (images if suffix in SUFFIXES else others).append(str(root / name))
  return images, others


def _visible_matches(pattern: str, names: Iterable[str]) -> list[str]:
  """Returns the names whose hidden parts the pattern itself spells."""
  first = re.search(r'[*?[]', pattern)
  fixed = pattern[: first.start()].rpartition('/')[0] if first else ''
  if '/.' in pattern.removeprefix(fixed):
    return list(names)
  return [name for name in names if _visible(name.removeprefix(fixed))]


def _visible(name: str) -> bool:
  """Returns whether no part of a relative path is hidden."""
  parts = pathlib.PurePath(name.removeprefix('/')).parts
  return not any(
    part.lower() in _FOREIGN
    or (part.startswith('.') and part not in ('.', '..'))
    for part in parts
  )


def _counts(names: Sequence[str]) -> str:
  """Returns e.g. '3 files (2 .heic, 1 .txt)'."""
  suffixes = collections.Counter(
    pathlib.PurePath(name).suffix.lower() or 'without suffix' for name in names
  )
  kinds = ', '.join(f'{n} {suffix}' for suffix, n in suffixes.most_common(5))
  return f'{user_text.counted(len(names), "file")} ({kinds})'
