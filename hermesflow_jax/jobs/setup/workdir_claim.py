"""Run folders: a folder belongs to a single run, which may resume in it."""

from collections.abc import Callable
from collections.abc import Mapping
import contextlib
import contextvars
import functools
import os
import pathlib

from hermesflow_jax.jobs.setup import default_workdir
from hermesflow_jax.jobs.setup import folder_contents
from hermesflow_jax.jobs.setup import run_record
from hermesflow_jax.runtime import folder_lock
from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import lock_turn
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import user_text
from hermesflow_jax.runtime import write_faults

# Longest time to wait for the starts of other processes, in seconds.
_TURN = 60.0
# What ends with the job that runs in this thread.
_ends_with_run = contextvars.ContextVar('ends_with_run', default=None)


def releases_workdir(run: Callable) -> Callable:
  """Wraps the `run` of a job, so that it releases the folder that it claims.

  If the job ends with a ValueError before it has written results, the folder is
  as it was before: a mistake of the user costs no folder.

  Args:
    run: function (config, workdir, console) -> results.
  """

  @functools.wraps(run)
  def wrapped(*args, **kwargs):
    with contextlib.ExitStack() as stack:
      token = _ends_with_run.set(stack)
      try:
        return run(*args, **kwargs)
      finally:
        _ends_with_run.reset(token)

  return wrapped


def claim_workdir(
  workdir: str,
  config,
  console: terminal.Console,
  *,
  contents: Mapping | None = None,
  share: tuple[int, int] = (0, 1),
  opening: str = 'resuming in',
  **identity,
) -> None:
  """Claims a folder for this run, or checks that it belongs to this run.

  `settings.json` in the folder holds the settings of the newest start.
  Only settings declared with `settings.may_change_on_resume` may change between
  starts, and paths whose content is the same (`settings.path_of_content`). A
  run that has no results yet may change all its settings.

  A job locks the folder until it ends (`releases_workdir`).

  Args:
    workdir: folder path, which is made if it does not exist. A run with other
      settings in a `default_workdir.DefaultWorkdir` is moved to another name.
    config: run settings, a dataclass.
    console: reports that a run resumes, and the settings that changed.
    contents: functions that return further hashes of the run's inputs, by name;
      None for a hash that is not known. Earlier releases did not record them: a
      run without a hash resumes. The hash of images is computed only for a new
      run, and if a path has changed.
    share: (number of this process, number of processes that share the folder).
    opening: words before the folder in the line about a run that exists.
    **identity: further values that identify the run, e.g. hashes; JSON types.

  Raises:
    ValueError: the folder cannot be written, holds other files, is in use, or
      belongs to a run with other settings, which are all named.
  """
  user_text.check('workdir', str(workdir))
  root, undo = storage.path(workdir), _ends_with_run.get()
  record = run_record.RunRecord(root, config, identity, contents or {})
  claim = _Claim(root, record, share, console.say, opening)

  def act():
    try:
      claim.make(isinstance(workdir, default_workdir.DefaultWorkdir))
    except (*storage.failures(), ValueError) as error:
      claim.release(error)
      reason = write_faults.folder_reason(root, error)
      raise ValueError(
        f'workdir {root} cannot be used: {reason}; {_advice(error)}'
      ) from error
    except BaseException as error:
      claim.release(error)
      raise
    if undo is None:
      claim.release(None)
    else:
      undo.push(lambda kind, error, trace: claim.release(error))

  processes.on_first_process(act)


def _advice(error) -> str:
  if isinstance(error, folder_lock.HeldError):
    return 'wait until it has ended, or give another --workdir'
  return 'give another --workdir'


class _Claim:
  """A claim of a folder, in the first process."""

  def __init__(self, root, record, share, say, opening):
    self.root, self._record, self._say = root, record, say
    number, count = share
    self._group = 'run' if count == 1 else f'share_of_{count}'
    self._lock_name = self._group + (f'_{number}' if count > 1 else '')
    self._lock, self._opening = None, f'{opening} {root}'
    # Settings before this start: None until it wrote some, b'' without any.
    self._made, self._before, self._had_data = [], None, False

  def make(self, makes_way: bool) -> None:
    """Locks the folder, and writes the settings; see `claim_workdir`.

    Args:
      makes_way: whether a run with other settings is moved away.
    """
    moved, fresh = False, folder_contents.is_fresh(self.root)
    try:
      if fresh:
        # Hashes take their time: nobody waits for them.
        self._record.values({})
      else:
        self._record.compare()
    except run_record.OtherRunError:
      if not makes_way or not storage.is_local(self.root):
        raise
      moved = True
    self._made = folder_contents.missing_folders(self.root)
    storage.make_folder(self.root)
    storage.check_writable(self.root)
    # Shares that start at the same time with new settings take turns.
    with contextlib.ExitStack() as stack:
      stack.enter_context(self._turn())
      self._acquire()
      if moved:
        stack.close()  # Its lock must not move along.
        self._move_away()
        stack.enter_context(self._turn())
        self._acquire()
      self._write_settings()

  def _turn(self):
    """Returns a context in which no other process claims this folder."""
    return lock_turn.wait(self.root, folder_contents.START, _TURN)

  def _write_settings(self) -> None:
    """Writes the settings, if they may be written; see `claim_workdir`."""
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

  def _acquire(self) -> None:
    lock = folder_lock.FolderLock(self.root, self._lock_name, self._say)
    lock.acquire()
    self._lock = lock
    for other in folder_contents.other_locks(self.root, self._group):
      lock.check_free(other)

  def _move_away(self) -> None:
    """Renames the folder of another run, and makes a new folder."""
    number = 1
    while (target := pathlib.Path(f'{self.root}_{number}')).exists():
      number += 1
    os.rename(self.root, target)
    self._lock.path = target / self._lock.path.name
    self._lock.release()
    self._lock = None
    self._say(
      f'{self.root} held a run with other settings, which is now {target}'
    )
    self._made = [self.root]
    storage.make_folder(self.root)

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
    names = folder_contents.SETTINGS, f'{folder_contents.SETTINGS}.tmp'
    # The lock is of earlier releases.
    for name in (*names, 'finish.lock'):
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


def check_no_run(folder: str) -> None:
  """Checks that a folder without a claim holds no run.

  Args:
    folder: output folder of a job that cannot resume.

  Raises:
    ValueError: the folder belongs to a run, or cannot be written.
  """
  check_writable(folder)
  if (storage.path(folder) / folder_contents.SETTINGS).exists():
    raise ValueError(
      f'workdir must not be the folder of a run, got {folder}, whose results '
      'would be replaced; give another --workdir'
    )


def check_writable(folder: str) -> None:
  """Checks that files can be written into a folder, which need not exist.

  Args:
    folder: folder path.

  Raises:
    ValueError: the folder cannot be made or written.
  """
  folder = storage.path(folder)
  try:
    storage.check_writable(folder)
  except storage.failures() as error:
    reason = write_faults.folder_reason(folder, error)
    raise ValueError(f'folder {folder} cannot be used: {reason}') from error
