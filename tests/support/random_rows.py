"""Random rows: blocks between random left and right pads."""

import numpy as np


def random_rows(count=64, size=23):
  """Random blocks between random left and right pads."""
  rng = np.random.default_rng(0)
  ar = rng.integers(0, 2, (count, size))
  ends = np.sort(rng.integers(0, size + 1, (count, 2)), axis=1)
  key = np.arange(size)
  valid = (key >= ends[:, :1]) & (key < ends[:, 1:])
  return ar, valid
