"""A bounded queue whose worker takes as many requests at once as there are.

While the device works on a batch, the next requests wait, and then are a batch.
So a single client waits for nothing, and many clients share the device.
"""

import collections
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Sequence
import concurrent.futures
import dataclasses
import threading


class QueueFull(Exception):  # noqa: N818
  """As many requests wait as may wait."""


class QueueClosed(Exception):  # noqa: N818
  """The server stops."""


@dataclasses.dataclass(frozen=True)
class Waiting:
  """A request in the queue.

  Attributes:
    kind: requests of the same kind can be in a batch.
    request: what the worker's function takes.
    rows: rows that it adds to a batch.
    future: result, or a cancelled future: the worker passes over these.
  """

  kind: Hashable
  request: object
  rows: int
  future: concurrent.futures.Future


class RequestQueue:
  """Requests of several clients, run in batches by one thread.

  Args:
    run: (kind, requests) -> a result for each request. A result may be an
      exception, which its client gets.
    most_rows: rows of a batch at most.
    most_waiting: requests that wait at most.

  Attributes:
    batches: number of batches that were run.
  """

  def __init__(
    self,
    run: Callable[[Hashable, Sequence], Sequence],
    most_rows: int,
    most_waiting: int,
  ):
    self._run, self._most_rows = run, most_rows
    self._most_waiting = most_waiting
    self._waiting = collections.deque()
    self._changed = threading.Condition()
    self._closed = False
    self.batches = 0
    self._thread = threading.Thread(target=self._work, daemon=True)
    self._thread.start()

  def submit(
    self, kind: Hashable, requests: Sequence, rows: int = 1
  ) -> list[concurrent.futures.Future]:
    """Adds requests of a client; all of them or none.

    Args:
      kind: see `Waiting`.
      requests: what `run` takes.
      rows: rows that each adds to a batch.

    Returns:
      A future for each request. Cancel it when its client has left.

    Raises:
      QueueFull: not all of them can wait.
      QueueClosed: the queue is closed.
    """
    entries = [
      Waiting(kind, request, rows, concurrent.futures.Future())
      for request in requests
    ]
    with self._changed:
      if self._closed:
        raise QueueClosed('the server stops')
      if len(self._waiting) + len(entries) > self._most_waiting:
        raise QueueFull(
          f'{len(self._waiting)} requests wait, of at most {self._most_waiting}'
        )
      self._waiting.extend(entries)
      self._changed.notify()
    return [entry.future for entry in entries]

  def __len__(self):
    """Returns the number of waiting requests."""
    with self._changed:
      return len(self._waiting)

  def close(self, timeout: float | None = None) -> None:
    """Refuses new requests, and waits for those that are there.

    Args:
      timeout: seconds to wait at most; requests that still wait are cancelled.
    """
    with self._changed:
      self._closed = True
      self._changed.notify()
    self._thread.join(timeout)
    with self._changed:
      while self._waiting:
        self._waiting.popleft().future.cancel()

  def _work(self):
    while batch := self._next_batch():
      self._run_batch(batch)

  def _next_batch(self) -> list[Waiting]:
    """Returns waiting requests of one kind; [] when the queue has closed."""
    with self._changed:
      while True:
        while not self._waiting and not self._closed:
          self._changed.wait()
        if not self._waiting:
          return []
        batch, rest, rows = [], [], 0
        for entry in self._waiting:
          fits = not batch or (
            entry.kind == batch[0].kind and rows + entry.rows <= self._most_rows
          )
          if not fits:
            rest.append(entry)
          elif entry.future.set_running_or_notify_cancel():
            batch.append(entry)
            rows += entry.rows
        self._waiting = collections.deque(rest)
        if batch:
          return batch

  def _run_batch(self, batch):
    self.batches += 1
    try:
      results = self._run(batch[0].kind, [entry.request for entry in batch])
    except Exception as error:
      results = [error] * len(batch)
    for entry, result in zip(batch, results, strict=True):
      if isinstance(result, Exception):
        entry.future.set_exception(result)
      else:
        entry.future.set_result(result)
