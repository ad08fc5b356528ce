"""Standard output and error that may be closed, full or without a reader.

A run of hours must not end because the terminal, the pipe or the disk that its
messages go to is gone. Messages are then dropped; the exit code tells.
"""

import errno
import io
import os
import sys


class TolerantStream:
  """A text stream that drops text it cannot write.

  Attributes:
    failure: first error of the stream; None if there was no error.

  Args:
    stream: text stream on a file descriptor.
    closed: whether its descriptor was closed, so that all text is dropped.
  """

  def __init__(self, stream, closed: bool = False):
    self._stream, self._closed, self.failure = stream, closed, None

  def write(self, text: str) -> int:
    """Writes text, or drops it after a failure."""
    if self._closed and text:
      self.failure = OSError(errno.EBADF, 'it is closed')
    if self.failure is None:
      try:
        return self._stream.write(text)
      except OSError as error:
        self._drop(error)
    return len(text)

  def flush(self) -> None:
    """Writes the buffered text."""
    if self.failure is None:
      try:
        self._stream.flush()
      except OSError as error:
        self._drop(error)

  def _drop(self, error):
    self.failure = error
    # The rest of the buffer, and what compiled code writes, go nowhere.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, self._stream.fileno())
    os.close(null)

  def __getattr__(self, name):
    return getattr(self._stream, name)


def protect() -> bool:
  """Makes standard output and error tolerant, and opens those that are closed.

  Otherwise the next file that is opened would take the descriptor of a closed
  stream, and messages of compiled code would get into that file.

  Returns:
    Whether this call did it; False if an earlier call did.
  """
  if isinstance(sys.stdout, TolerantStream):
    return False
  closed = set()
  for number in range(3):
    try:
      os.fstat(number)
    except OSError:
      os.open(os.devnull, os.O_RDWR)
      closed.add(number)
  for number, name in ((1, 'stdout'), (2, 'stderr')):
    stream = getattr(sys, name)
    if stream is None:
      stream = open(number, 'w', encoding='utf-8', closefd=False)  # noqa: SIM115
    if isinstance(stream, io.TextIOWrapper) and stream.errors == 'strict':
      # Captions may have characters that the user's locale lacks.
      stream.reconfigure(errors='backslashreplace')
    setattr(sys, name, TolerantStream(stream, number in closed))
  return True


def exit_code(code: int) -> int:
  """Returns an exit code that tells whether standard output was written.

  Args:
    code: the command's exit code.

  Returns:
    `code`; 1 instead of 0 if output was lost, with an error line unless the
    reader of a pipe went away.
  """
  sys.stdout.flush()
  failure = getattr(sys.stdout, 'failure', None)
  if code or failure is None:
    return code
  if not isinstance(failure, BrokenPipeError):
    reason = failure.strerror or failure
    sys.stderr.write(f'error: standard output could not be written: {reason}\n')
    sys.stderr.flush()
  return 1
