"""What a job tells the person who started it."""

import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses
import itertools
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


def counted(
    progress: Callable[[Iterable], Iterable], parts: Sequence,
    sizes: Sequence[int],
) -> Iterator:
  """Yields parts of a work; what is counted is the items in them.

  Args:
    progress: wraps the items.
    parts: of the work.
    sizes: how many items each has.
  """
  items = iter(progress(range(sum(sizes))))
  for part, size in zip(parts, sizes, strict=True):
    yield part
    collections.deque(itertools.islice(items, size), maxlen=0)
  next(items, None)  # The bar goes away.


def terminal() -> Console:
  """Lines on standard output; bars on a terminal only, and only while long."""

  def progress(label):
    def wrap(items):
      return tqdm.tqdm(
          items, desc=label, disable=not sys.stderr.isatty(), delay=1.0,
          leave=False, dynamic_ncols=True, smoothing=0.05,
      )
    return wrap

  def say(line):
    tqdm.tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()

  return Console(say, progress)


def silent() -> Console:
  """Says nothing; for tests and for other programs."""
  return Console(lambda line: None, lambda label: lambda items: items)
