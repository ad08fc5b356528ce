"""Python's frames share a piece of memory, however deep they are."""

import resource
import threading

from hermesflow_jax.runtime import python_stack


def descend(depth, function):
  return descend(depth - 1, function) if depth else function()


def faults(depth):
  """Page faults of calls to and fro between a depth and 20 frames below it."""

  def measure():
    def repeat():
      for _ in range(100):
        descend(20, lambda: None)

    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    python_stack.call(descend, depth, repeat)
    after = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    counts.append(after - before)

  counts = []
  # A thread has a stack of its own, which begins with a small piece.
  thread = threading.Thread(target=measure)
  thread.start()
  thread.join()
  return counts[0]


def test_calls_to_and_fro_at_any_depth_map_no_memory():
  assert max(map(faults, range(0, 200, 10))) < 100


def test_a_call_returns_what_its_function_returns():
  assert python_stack.call(lambda *a, **k: (a, k), 1, b=2) == ((1,), {'b': 2})
