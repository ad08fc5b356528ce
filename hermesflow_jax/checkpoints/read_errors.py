"""One line about a checkpoint that cannot be read."""

import errno

from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage

_OF_THE_MACHINE = (
  errno.EIO,
  errno.EMFILE,
  errno.ENFILE,
  errno.EACCES,
  errno.ENOMEM,
  errno.ESTALE,
  errno.ETIMEDOUT,
)


# How tensorstore says that a bucket did not answer.
_UNREACHED = (
  'UNAVAILABLE',
  'PERMISSION_DENIED',
  'UNAUTHENTICATED',
  'DEADLINE_EXCEEDED',
  'ABORTED',
)


class Damaged(ValueError):
  """There is a checkpoint, or what is left of one, that cannot be read."""


def describe_damage(
  path: str, error: Exception, damaged: str = ''
) -> Exception:
  """Returns the Damaged or the OSError that an error while reading means."""
  try:
    _check_reached(path, error)
  except OSError as unreached:
    return unreached
  if _of_the_machine(error):
    return OSError(f'{path} could not be read: {describe_error(error)}')
  return Damaged(damaged or f'no readable checkpoint at {path}')


def check_read(path: str, fault: ValueError | OSError | None) -> None:
  """Raises, of the same kind in all processes, what kept one from reading.

  What one cannot read none has; but what one alone lacks is no damage.

  Args:
    path: of the checkpoint.
    fault: what reading it raised in this process.

  Raises:
    Damaged, OSError: see `restore`.
  """
  if processes.all_true(fault is None):
    return
  mine = isinstance(fault, OSError)
  if not processes.all_true(not mine):
    raise (
      fault if mine else OSError(f'{path} could not be read by another process')
    )
  raise fault or Damaged(f'checkpoint {path} is damaged')


def describe_error(error: BaseException) -> str:
  """Returns the first line of what an error came from."""
  while error.__cause__:
    error = error.__cause__
  return (str(error).strip() or type(error).__name__).splitlines()[0]


def _of_the_machine(error: BaseException | None) -> bool:
  """Whether a read failed for lack of something, not for what is read."""
  while error is not None:
    if isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in str(error):
      return True
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
      return True
    error = error.__cause__
  return False


def _check_reached(path, error: BaseException) -> None:
  """Raises OSError if a bucket did not answer: then nothing is damaged.

  Orbax keeps some causes to itself, so the bucket is asked again.
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
