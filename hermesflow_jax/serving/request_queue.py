"""A bounded queue whose worker takes as many requests at once as there are.

While the device works on a batch, the next requests wait, and then are a batch.
So a single client waits for nothing, and many clients share the device. Clients
that get their replies together send their next requests one after the other,
within some milliseconds. While these come, the worker waits for half as many as
there were in the last batch; otherwise the first of them would run alone. The
other half comes while the device works.
"""

import collections
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Sequence
import concurrent.futures
import dataclasses
import threading
import time

# A batch waits for more requests at most this share of the time that the last
# batch took, at most these seconds, and these seconds after the last request.
_PATIENCE, _LONGEST_PATIENCE, _LONGEST_GAP = 0.5, 0.05, 0.002


class QueueFull(Exception):  # noqa: N818
  """As many requests wait as may wait."""


class QueueClosed(Exception):  # noqa: N818
  """The server stops."""


class BatchFailed(Exception):  # noqa: N818
  """The device failed at a batch; no client is to blame."""


@dataclasses.dataclass(frozen=True)
class Waiting:
  """A request in the queue.

  Attributes:
    kind: requests of the same kind can be in a batch.
    request: what the worker's function takes.
    future: result, or a cancelled future: the worker passes over these.
  """

  kind: Hashable
  request: object
  future: concurrent.futures.Future


class RequestQueue:
  """Requests of several clients, run in batches by one thread.

  Args:
    run: (kind, requests) -> a result for each request. A result may be an
      exception, which its client gets.
    most_waiting: requests that wait at most.
    sizes: returns the sizes of batches that the device computes, increasing;
      smaller batches are padded.

  Attributes:
    batches: number of batches that were run.
  """

  def __init__(
    self,
    run: Callable[[Hashable, Sequence], Sequence],
    most_waiting: int,
    sizes: Callable[[], Sequence[int]],
  ):
    self._run, self._sizes = run, sizes
    self._most_waiting = most_waiting
    self._waiting = collections.deque()
    self._changed = threading.Condition()
    self._closed = False
    self.batches = 0
    # Requests of the last batch, its kind, and its seconds.
    self._last_count, self._last_kind, self._last_seconds = 1, None, 0.0
    self._thread = threading.Thread(target=self._work, daemon=True)
    self._thread.start()

  def submit(
    self, kind: Hashable, requests: Sequence
  ) -> list[concurrent.futures.Future]:
    """Adds requests of a client; all of them or none.

    Args:
      kind: see `Waiting`.
      requests: what `run` takes.

    Returns:
      A future for each request. Cancel it when its client has left.

    Raises:
      QueueFull: not all of them can wait.
      QueueClosed: the queue is closed.
    """
    entries = [
      Waiting(kind, request, concurrent.futures.Future())
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
        kind = self._waiting[0].kind
        self._wait_for_more(kind)
        most = self._size(kind)
        batch, rest = [], []
        for entry in self._waiting:
          if entry.kind != kind or len(batch) == most:
            rest.append(entry)
          elif entry.future.set_running_or_notify_cancel():
            batch.append(entry)
        self._waiting = collections.deque(rest)
        if batch:
          return batch

  def _count(self, kind) -> int:
    """Returns how many requests of a kind wait, and at most a batch of them."""
    count = sum(entry.kind == kind for entry in self._waiting)
    return min(count, self._sizes()[-1])

  def _wait_for_more(self, kind):
    """Waits until half as many requests are there as in the last batch."""
    if kind != self._last_kind:
      return
    enough = (self._last_count + 1) // 2
    patience = min(self._last_seconds * _PATIENCE, _LONGEST_PATIENCE)
    end = time.monotonic() + patience
    while not self._closed and self._count(kind) < enough:
      left = end - time.monotonic()
      if left <= 0 or not self._changed.wait(min(left, _LONGEST_GAP)):
        return

  def _size(self, kind) -> int:
    """Returns the size of the next batch: at most a quarter is padding.

    With sizes 1, 8 and 32, nine requests are a batch of eight, and one request
    that waits for the next.
    """
    count, sizes = self._count(kind), self._sizes()
    above = [size for size in sizes if size >= count]
    below = [size for size in sizes if size < count]
    if above and below and 4 * count < 3 * above[0]:
      return below[-1]
    return count

  def _run_batch(self, batch):
    self.batches += 1
    began = time.monotonic()
    try:
      results = self._run(batch[0].kind, [entry.request for entry in batch])
    except Exception as error:
      failure = BatchFailed(f'a batch failed: {error!r:.300}')
      failure.__cause__ = error
      results = [failure] * len(batch)
    self._last_count, self._last_kind = len(batch), batch[0].kind
    self._last_seconds = time.monotonic() - began
    for entry, result in zip(batch, results, strict=True):
      if isinstance(result, Exception):
        entry.future.set_exception(result)
      else:
        entry.future.set_result(result)
