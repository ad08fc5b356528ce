"""Run folders: a folder belongs to a single run, which may resume in it."""

from collections.abc import Callable
from collections.abc import Mapping
import contextlib
import contextvars
import functools

from hermesflow_jax.jobs.setup import default_workdir
from hermesflow_jax.jobs.setup import folder_claim
from hermesflow_jax.jobs.setup import folder_contents
from hermesflow_jax.jobs.setup import run_record
from hermesflow_jax.runtime import folder_lock
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import user_text
from hermesflow_jax.runtime import write_faults

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
  claim = folder_claim.FolderClaim(root, record, share, console.say, opening)

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
