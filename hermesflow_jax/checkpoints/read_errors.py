"""Errors of checkpoints that cannot be read, each in a line."""

import errno

from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage

# Errors that the machine causes, not the files.
_OF_THE_MACHINE = (
  errno.EIO,
  errno.EMFILE,
  errno.ENFILE,
  errno.EACCES,
  errno.ENOMEM,
  errno.ESTALE,
  errno.ETIMEDOUT,
)

# Errors of tensorstore when a bucket does not answer.
_UNREACHED = (
  'UNAVAILABLE',
  'PERMISSION_DENIED',
  'UNAUTHENTICATED',
  'DEADLINE_EXCEEDED',
  'ABORTED',
)


class DamagedError(ValueError):
  """A checkpoint is incomplete, or its bits have changed."""


def describe_damage(
  path: str, error: Exception, damaged: str = ''
) -> Exception:
  """Returns the DamagedError or OSError that a read error amounts to.

  Args:
    path: checkpoint folder.
    error: exception that reading raised.
    damaged: message if the checkpoint is damaged; '' for a general message.
  """
  try:
    _check_reached(path, error)
  except OSError as unreached:
    return unreached
  if _of_the_machine(error):
    return OSError(f'{path} could not be read: {describe_error(error)}')
  return DamagedError(damaged or f'no readable checkpoint at {path}')


def check_read(path: str, fault: ValueError | OSError | None) -> None:
  """Raises an error of the same type in all processes if any could not read.

  An OSError in any process counts more than damage: a file that a process
  alone cannot reach is not damaged. All processes call it.

  Args:
    path: checkpoint folder.
    fault: exception that reading raised in this process; None if it did not.

  Raises:
    DamagedError: see `checkpoint.restore`.
    OSError: see `checkpoint.restore`.
  """
  if processes.all_true(fault is None):
    return
  unreached = isinstance(fault, OSError)
  if not processes.all_true(not unreached):
    if unreached:
      raise fault
    raise OSError(f'{path} could not be read by another process')
  raise fault or DamagedError(f'checkpoint {path} is damaged')


def describe_error(error: BaseException) -> str:
  """Returns the first line from an error's first cause.

  Args:
    error: any exception.
  """
  while error.__cause__:
    error = error.__cause__
  return (str(error).strip() or type(error).__name__).splitlines()[0]


def _of_the_machine(error: BaseException | None) -> bool:
  """Returns whether a read failed for lack of memory, rights or files."""
  while error is not None:
    if isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in str(error):
      return True
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
      return True
    error = error.__cause__
  return False


def _check_reached(path, error: BaseException) -> None:
  """Raises OSError if a bucket did not answer, so that nothing is damaged.

  Orbax hides some causes, so the bucket is read again.
  """
  path = storage.path(path)
  if storage.is_local(path):
    return
  cause, refused = error, None
  while cause is not None and not refused:
    if any(word in str(cause) for word in _UNREACHED):
      refused = cause
    cause = cause.__cause__ or cause.__context__
  try:
    storage.check_reached(path)
  except storage.failures() as failed:
    refused = failed
  if refused:
    raise OSError(
      f'{path} could not be read: {describe_error(refused)}'
    ) from error
