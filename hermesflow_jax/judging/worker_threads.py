"""Calls a function in parallel threads, which do not delay a stop."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import queue
import threading


def map_unordered(
  function: Callable, items: Sequence, count: int
) -> Iterator[tuple[int, object]]:
  """Yields (position, function(item)) as results arrive.

  The threads are daemons: a program that ends does not wait for them. After an
  error, or if the caller stops, no further item is taken.

  Args:
    function: called with an item, in a thread.
    items: arguments.
    count: threads.

  Raises:
    Exception: the first error of `function`.
  """
  tasks, results = queue.SimpleQueue(), queue.SimpleQueue()
  stop = threading.Event()
  for task in enumerate(items):
    tasks.put(task)

  def work():
    while not stop.is_set():
      try:
        position, item = tasks.get_nowait()
      except queue.Empty:
        return
      try:
        results.put((position, function(item), None))
      except BaseException as error:
        results.put((position, None, error))
        return

  for _ in range(min(count, len(items))):
    threading.Thread(target=work, daemon=True).start()
  try:
    for _ in items:
      position, result, error = results.get()
      if error is not None:
        raise error
      yield position, result
  finally:
    stop.set()
