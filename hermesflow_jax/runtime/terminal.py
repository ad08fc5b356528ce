"""A job's messages and progress, on a terminal or in a log file."""

import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import itertools
import math
import sys
import time

import tqdm

# Seconds between two lines of progress where there is no terminal.
LINE_EVERY = 60.0


@dataclasses.dataclass(frozen=True)
class Console:
  """A job's output.

  Attributes:
    say: prints a line.
    progress: label -> function that wraps an iterable to show its progress.
    command: command that started the job, for pages that print it; '' if
      another program called the job.
  """

  say: Callable[[str], None]
  progress: Callable[[str], Callable[[Iterable], Iterable]]
  command: str = ''


def with_prefix(
  progress: Callable[[str], Callable], prefix: str
) -> Callable[[str], Callable]:
  """Returns `Console.progress` with '<prefix>: ' before each label.

  Args:
    progress: see `Console`.
    prefix: text before the labels.
  """
  return lambda label: progress(f'{prefix}: {label}')


def weighted_progress(
  progress: Callable[[Iterable], Iterable],
  parts: Sequence,
  sizes: Sequence[int],
) -> Iterator:
  """Yields parts of a work, and shows progress in items.

  Args:
    progress: wraps an iterable to show its progress.
    parts: the work's parts.
    sizes: item count for each part.

  Yields:
    The parts.
  """
  items = iter(progress(range(sum(sizes))))
  # The wrapper counts an item when the next is requested; its time starts
  # with the first.
  next(items, None)
  for part, size in zip(parts, sizes, strict=True):
    yield part
    collections.deque(itertools.islice(items, size), maxlen=0)


def terminal(clock: Callable[[], float] = time.monotonic) -> Console:
  """Returns a console on standard output and standard error.

  `say` prints to standard output. Progress goes to standard error: as bars on
  a terminal, for work that takes longer than a second; otherwise (a log file,
  a batch system) as at most a line per minute, see `Lines`.

  Args:
    clock: returns seconds.
  """

  def write(line):
    tqdm.tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()

  lines = Lines(write, clock)

  def progress(label):
    def wrap(items):
      if not sys.stderr.isatty():
        return lines.wrap(label, items)
      return tqdm.tqdm(
        items,
        desc=label,
        delay=1.0,
        leave=False,
        dynamic_ncols=True,
        smoothing=0.05,
      )

    return wrap

  def say(line):
    tqdm.tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()

  return Console(say, progress)


def silent() -> Console:
  """Returns a console without output, for tests and other programs."""
  return Console(lambda line: None, lambda label: lambda items: items)


class Lines:
  """Progress as lines, at most a line per minute.

  A line has the name of the work, its position and the time left:
  'round 1: drawing images 120/900, 3 min left'. Nested work follows: 'round 1:
  curating 300/900, 12 min left; drawing images 40/480, 2 min left'. Work that
  ends within its first minute prints no line.

  Args:
    write: prints a line.
    clock: returns seconds.
  """

  def __init__(self, write: Callable[[str], None], clock: Callable[[], float]):
    self._write, self._clock = write, clock
    self._works, self._last = [], -math.inf

  def wrap(self, label: str, items: Iterable) -> Iterator:
    """Yields items, and writes a line when a minute has passed.

    Args:
      label: work name.
      items: items of the work. A range is counted from its start: a run that
        resumes at step 50 of 100 shows '51/100' after a step.
    """
    now = self._clock()
    work = _Work(label, items, now)
    if not self._works:
      self._last = max(self._last, now)
    self._works.append(work)
    try:
      for item in items:
        yield item
        work.done += 1
        self._write_if_due()
    finally:
      self._works.remove(work)

  def _write_if_due(self):
    now = self._clock()
    first = self._works[0]
    if now - max(self._last, first.began) < LINE_EVERY or first.ended:
      return
    self._last = now
    prefix = first.label.rpartition(': ')[0] + ': '
    within = [w.line(now).removeprefix(prefix) for w in self._works[1:]]
    self._write('; '.join([first.line(now), *within]))


class _Work:
  """Items, and the number of items that are done."""

  def __init__(self, label: str, items: Iterable, began: float):
    self.label, self.began, self.done = label, began, 0
    self.start = items.start if isinstance(items, range) else 0
    self.count = len(items) if hasattr(items, '__len__') else None

  @property
  def ended(self) -> bool:
    """Whether the last item is done."""
    return self.done == self.count

  def line(self, now: float) -> str:
    """Returns e.g. 'drawing images 120/900, 3 min left'."""
    place = f'{self.label} {self.start + self.done}'
    if self.count is None:
      return place
    place += f'/{self.start + self.count}'
    if not self.done:
      return place
    rest = (now - self.began) / self.done * (self.count - self.done)
    return f'{place}, {time_left(rest)} left'


def time_left(seconds: float) -> str:
  """Returns a duration as text, e.g. '3 min', or '5.2 h' from two hours on.

  Args:
    seconds: the duration; minutes are rounded up.
  """
  minutes = max(1, math.ceil(seconds / 60))
  return f'{minutes} min' if minutes < 120 else f'{seconds / 3600:.1f} h'
