"""Growth laws: how a cost depends on a size."""

from collections.abc import Sequence
import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Law:
  """How measured costs grow with a size n.

  Attributes:
    exponent: slope through the logarithms: 1 for costs that are
      proportional to n, 0 for costs that do not depend on it. None unless all
      costs are positive.
    constant: a in the line a + b n that has the least relative errors.
    slope: b in this line.
    last: the last cost, divided by the line through all others; None for fewer
      than three costs.
  """

  exponent: float | None
  constant: float
  slope: float
  last: float | None


def fit(sizes: Sequence[float], costs: Sequence[float]) -> Law:
  """Fits a law to costs.

  Args:
    sizes: at least two different sizes above 0, in increasing order.
    costs: a cost for each size.

  >>> fit([1, 2, 4], [5, 7, 11])
  Law(exponent=0.569, constant=3.0, slope=2.0, last=1.0)
  """
  sizes, costs = np.asarray(sizes, float), np.asarray(costs, float)
  slope, constant = _line(sizes, costs)
  exponent = last = None
  if costs.min() > 0:
    exponent = round(float(np.polyfit(np.log(sizes), np.log(costs), 1)[0]), 3)
  if len(sizes) > 2:
    before, start = _line(sizes[:-1], costs[:-1])
    expected = start + before * sizes[-1]
    if expected > 0:
      last = round(float(costs[-1] / expected), 3)
  return Law(exponent, float(f'{constant:.6g}'), float(f'{slope:.6g}'), last)


def _line(sizes, costs):
  """Returns (slope, constant) with the least relative errors."""
  least = max(1e-3 * np.abs(costs).max(), 1e-12)
  weights = 1 / np.maximum(np.abs(costs), least)
  return np.polyfit(sizes, costs, 1, w=weights)
