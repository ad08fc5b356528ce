"""Errors of files that cannot be written, in the words of the system."""

import errno
import logging
import os

# A full disk, a quota, a size limit, a read-only or failing disk.
_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


def reason(error: BaseException | str) -> str:
  """Returns why the system writes no more; '' if the error has another cause.

  Libraries surround the reason with names of their own files.

  Args:
    error: an exception, or its text.
  """
  reasons = map(os.strerror, _NUMBERS)
  return next((text for text in reasons if text in str(error)), '')


def silence_repeats() -> None:
  """Drops tracebacks that event loops log for each array of a full disk.

  The first fault is raised as well, and ends the command with a line.
  """
  logging.getLogger('asyncio').setLevel(logging.CRITICAL)
