"""A claim of a run folder: its lock, and the settings in it."""

from collections.abc import Callable
import contextlib
import fnmatch
import os
import pathlib

from hermesflow_jax.jobs.setup import folder_contents
from hermesflow_jax.jobs.setup import run_record
from hermesflow_jax.runtime import folder_lock
from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import lock_turn
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import storage

# Longest time to wait for the starts of other processes, in seconds.
_TURN = 60.0


class FolderClaim:
  """A claim of a folder, in the first process.

  Args:
    root: folder path.
    record: settings and hashes of this start.
    share: (number of this process, number of processes that share the folder).
    say: prints a line.
    opening: words before the folder in the line about a run that exists.
  """

  def __init__(
    self,
    root: pathlib.PurePath,
    record: run_record.RunRecord,
    share: tuple[int, int],
    say: Callable[[str], None],
    opening: str,
  ):
    self.root, self._record, self._say = root, record, say
    number, count = share
    self._group = 'run' if count == 1 else f'share_of_{count}'
    self._lock_name = self._group + (f'_{number}' if count > 1 else '')
    self._lock, self._opening = None, f'{opening} {root}'
    # Settings before this start: None until it wrote some, b'' without any.
    self._made, self._before, self._had_data = [], None, False
    # Where this start has moved an older run.
    self._moved_to = None

  def make(self, makes_way: bool) -> None:
    """Locks the folder, and writes the settings.

    Args:
      makes_way: whether a run with other settings is moved away.

    Raises:
      ValueError: see `workdir_claim.claim_workdir`.
      OSError: a file cannot be written; for a bucket also other
        `storage.failures()`.
    """
    makes_way = makes_way and storage.is_local(self.root)
    # Hashes take their time: computed before others wait for this start.
    self._is_in_the_way(makes_way)
    self._made = folder_contents.missing_folders(self.root)
    storage.make_folder(self.root)
    storage.check_writable(self.root)
    # Shares that start at the same time with new settings take turns.
    with contextlib.ExitStack() as stack:
      turn = self._enter_turn(stack)
      self._acquire()
      # Since the first look another start may have moved the older run.
      while makes_way and self._is_in_the_way(makes_way):
        self._move_away(turn)
        stack.close()
        turn = self._enter_turn(stack)
        self._acquire()
      self._write_settings()

  def _is_in_the_way(self, makes_way: bool) -> bool:
    """Returns whether the folder holds another run, which is moved away.

    Raises:
      ValueError: it holds files of something else, or a run that stays.
    """
    if folder_contents.is_fresh(self.root):
      self._record.values({})
      return False
    try:
      self._record.compare()
    except run_record.OtherRunError:
      if not makes_way:
        raise
      return True
    return False

  def _enter_turn(self, stack) -> folder_lock.FolderLock:
    """Returns the lock of this turn, which ends with the stack."""
    while True:
      try:
        return stack.enter_context(self._turn())
      except FileNotFoundError:
        if not storage.is_local(self.root):
          raise
        # Another start has just renamed the folder.
        storage.make_folder(self.root)

  def _turn(self):
    """Returns a context in which no other process claims this folder."""
    return lock_turn.wait(
      self.root, folder_contents.START, _TURN, say=self._say
    )

  def _write_settings(self) -> None:
    """Writes the settings, if they may be written; see `make`."""
    names = folder_contents.names_of_jobs(self.root)
    self._had_data = 'data' in names
    path = self.root / folder_contents.SETTINGS
    fresh = folder_contents.is_fresh(self.root)
    if fresh and _first_writes(path, self._record.values({})):
      self._before = b''
      return
    saved, record, replaced = self._record.compare()
    self._before = path.read_bytes()
    if replaced:
      for lock in folder_contents.other_locks(self.root, self._lock_name):
        self._lock.check_free(lock)
    if saved != record:
      with contextlib.suppress(FileNotFoundError):
        output_files.write_atomically(path, output_files.json_text(record))
    # An earlier release may have had other settings.
    changes = sorted(
      identities.differences(saved, record, keys=set.intersection)
    )
    first = self._opening
    if replaced:
      first = f'the run in {self.root} has no results yet, and starts afresh'
    self._say('; '.join([first, *changes]))

  def release(self, error: BaseException | None) -> None:
    """Unlocks the folder; after a mistake of the user also clears it.

    Args:
      error: the error that ends the run; None without an error.
    """
    if self._lock is None and not self._made:
      return
    with contextlib.suppress(*storage.failures(), folder_lock.HeldError):
      if self._lock is not None and isinstance(error, ValueError):
        with self._turn():
          self._clear()
    if self._lock is not None:
      self._lock.release()
    if error is not None and storage.is_local(self.root):
      for folder in self._made:
        with contextlib.suppress(OSError):
          folder.rmdir()  # Fails if it holds files.
    if isinstance(error, ValueError) and self._moved_to is not None:
      self._move_back()

  def _acquire(self) -> None:
    lock = folder_lock.FolderLock(self.root, self._lock_name, self._say)
    lock.acquire()
    self._lock = lock
    for other in folder_contents.other_locks(self.root, self._group):
      lock.check_free(other)

  def _move_away(self, turn: folder_lock.FolderLock) -> None:
    """Renames the folder of another run, and makes a new folder.

    Args:
      turn: lock of this start, which moves along.
    """
    number = 1
    while (target := pathlib.Path(f'{self.root}_{number}')).exists():
      number += 1
    os.rename(self.root, target)
    for lock in (turn, self._lock):
      lock.path = target / lock.path.name
    storage.make_folder(self.root)
    self._made, self._moved_to = [self.root], target
    self._lock.release()
    self._lock = None
    self._say(
      f'{self.root} held a run with other settings, which is now {target}'
    )

  def _move_back(self) -> None:
    """Gives the older run its name again, if this start has left nothing."""
    with contextlib.suppress(OSError):
      if not self.root.exists():
        os.rename(self._moved_to, self.root)
        self._say(f'{self._moved_to} is {self.root} again')

  def _clear(self) -> None:
    """Removes what this start wrote, if that is all."""
    root = self.root
    if (
      self._before is None
      or not folder_contents.has_only_start(root)
      or folder_contents.other_locks(root, self._lock_name)
    ):
      return
    if self._before:
      storage.write(root / folder_contents.SETTINGS, self._before)
      return
    names = fnmatch.filter(storage.list_names(root), folder_contents.UNFINISHED)
    # The lock is of earlier releases.
    for name in (folder_contents.SETTINGS, *names, 'finish.lock'):
      if storage.is_local(root):
        (root / name).unlink(missing_ok=True)
      else:
        storage.remove(root / name)
    if not self._had_data:
      storage.remove(root / 'data')


def _first_writes(path, record) -> bool:
  """Writes settings of a new run; False if another process wrote them."""
  if not storage.is_local(path):
    return storage.create(path, output_files.json_text(record).encode())
  # Without locks of files, another process may rename the temporary file.
  with contextlib.suppress(FileNotFoundError):
    output_files.write_atomically(path, output_files.json_text(record))
    return True
  return False
