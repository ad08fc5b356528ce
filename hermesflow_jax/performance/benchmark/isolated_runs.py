"""Runs measurements in child processes, so that a failure costs only its own.

A child runs one measurement after the other and ends at the first failure: an
error of a GPU (out of memory, an illegal address) may spoil all later work of
its process. The next child continues with the measurement after it. A child
that dies or hangs ends its current measurement in the same way.
"""

from collections.abc import Callable
from collections.abc import Sequence
import contextlib
import multiprocessing
import signal
import time

# Seconds that a child gets to end after its last measurement.
_GRACE = 10.0


def run_all(
  measure: Callable[[str], dict],
  groups: Sequence[Sequence[str]],
  limit: float,
  deadline: float,
  report: Callable[[str, dict], None],
) -> None:
  """Runs measurements in their order; returns when each has a result.

  Args:
    measure: name -> row of JSON types; a function that can be pickled.
    groups: names; each group has child processes of its own.
    limit: most seconds of a measurement, with the start of its process.
    deadline: value of `time.monotonic()` after which no measurement goes on.
    report: called with name and row at once. A row of a failure has the key
      `error`, a single line.
  """
  for group in groups:
    remaining = list(group)
    while remaining:
      if time.monotonic() >= deadline:
        report(remaining.pop(0), {'error': 'not run: no time was left'})
        continue
      _run_child(measure, remaining, limit, deadline, report)


def _run_child(measure, remaining, limit, deadline, report):
  """Runs a child until its first failure; removes names that have results."""
  context = multiprocessing.get_context('spawn')
  results, sender = context.Pipe(duplex=False)
  child = context.Process(
    target=_measure_each, args=(sender, measure, tuple(remaining))
  )
  child.start()
  sender.close()
  try:
    while remaining:
      seconds = min(limit, deadline - time.monotonic())
      row = _next_row(child, results, seconds, limit)
      report(remaining.pop(0), row)
      if 'error' in row:
        return
    child.join(_GRACE)
  finally:
    child.kill()
    child.join()
    results.close()


def _next_row(child, results, seconds, limit) -> dict:
  """Returns the next result of a child, or why there is none."""
  if not results.poll(max(seconds, 0)):
    if seconds < limit:
      return {'error': 'not run: no time was left'}
    return {'error': f'it took longer than {limit:g} s'}
  with contextlib.suppress(EOFError, OSError):
    return results.recv()
  child.join(_GRACE)
  return {'error': f'its process died: {_death(child.exitcode)}'}


def _death(code: int | None) -> str:
  """Returns the exit code of a process in words."""
  if code is None or code >= 0:
    return f'exit code {code}'
  try:
    return signal.Signals(-code).name
  except ValueError:
    return f'signal {-code}'


def _measure_each(sender, measure, names):
  """Sends a row for each name; ends after the first failure."""
  for name in names:
    try:
      row = measure(name)
    except Exception as error:
      text = ' '.join(f'{type(error).__name__}: {error}'.split())
      sender.send({'error': text[:500]})
      return
    sender.send(row)
