"""Errors of files that cannot be written, in the words of the system."""

import errno
import logging
import os
import pathlib

# A full disk, a quota, a size limit, a read-only or failing disk.
_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
# What systems report where no folder can be made, e.g. in /proc.
_NO_FOLDERS = (errno.ENOENT, errno.EPERM, errno.EACCES)


def reason(error: BaseException | str) -> str:
  """Returns why the system writes no more; '' if the error has another cause.

  Libraries surround the reason with names of their own files.

  Args:
    error: an exception, or its text.
  """
  reasons = map(os.strerror, _NUMBERS)
  return next((text for text in reasons if text in str(error)), '')


def folder_reason(folder: pathlib.PurePath, error: Exception) -> str:
  """Returns why a folder cannot be used, without numbers of the system.

  Args:
    folder: folder path.
    error: exception from making the folder, or from writing into it.
  """
  if not isinstance(error, OSError) or not error.strerror:
    return str(error)
  if isinstance(folder, pathlib.Path):
    parents = (folder, *folder.absolute().parents)
    parent = next(path for path in parents if os.path.lexists(path))
    if not parent.exists():
      return f'{parent} is a link to a folder that does not exist'
    if not parent.is_dir():
      return f'{os.strerror(errno.ENOTDIR)}: {parent} is a file'
    name = os.path.abspath(error.filename or os.devnull)
    is_own = folder.absolute().is_relative_to(name)
    if error.errno in _NO_FOLDERS and is_own and parent is not folder:
      return f'no folder can be made in {parent}'
  name = f': {error.filename}' if error.filename else ''
  return f'{error.strerror}{name}'


def silence_repeats() -> None:
  """Drops tracebacks that event loops log for each array of a full disk.

  The first fault is raised as well, and ends the command with a line.
  """
  logging.getLogger('asyncio').setLevel(logging.CRITICAL)
