"""The processor cores that this process may use."""

import os


def usable() -> int:
  """Returns the number of cores; all of them where the system has no limit."""
  try:
    return len(os.sched_getaffinity(0))
  except AttributeError:  # macOS.
    return os.cpu_count() or 1
