"""What a job tells the person who started it."""

from collections.abc import Callable, Iterable
import dataclasses
import sys

import tqdm


@dataclasses.dataclass(frozen=True)
class Console:
  """The two ways a job speaks.

  Attributes:
    say: prints one line.
    progress: (label) -> a wrapper of iterables that shows their progress.
  """

  say: Callable[[str], None]
  progress: Callable[[str], Callable[[Iterable], Iterable]]


def terminal() -> Console:
  """Lines on standard output; bars on a terminal only, and only while long."""

  def progress(label):
    def wrap(items):
      return tqdm.tqdm(
          items, desc=label, disable=not sys.stderr.isatty(), delay=1.0,
          leave=False, dynamic_ncols=True,
      )
    return wrap

  def say(line):
    tqdm.tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()

  return Console(say, progress)


def silent() -> Console:
  """Says nothing; for tests and for other programs."""
  return Console(lambda line: None, lambda label: lambda items: items)
