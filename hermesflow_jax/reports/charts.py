"""Line charts with error bars.

Values that are not finite are left out: a line breaks at them.
"""

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from hermesflow_jax.reports import inline_svg
from hermesflow_jax.reports import number_text

WIDTH, HEIGHT = 440, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 14, 40
# Mean width of a letter of the charts' font, in pixels; rounded up.
LETTER = 7.2
MOST_POINTS = 240


@dataclasses.dataclass(frozen=True)
class Series:
  """A line with optional markers and error bars.

  Attributes:
    name: text in the legend.
    points: (x, y, standard error or None), sorted by x.
    style: color, a name in `inline_svg.COLORS`.
    dashed: whether the line is dashed.
    markers: whether each point has a marker.
    joined: whether a line joins the points; False where x has no order.
  """

  name: str
  points: Sequence[tuple]
  style: str = 'plain'
  dashed: bool = False
  markers: bool = False
  joined: bool = True

  def arrays(self) -> np.ndarray:
    """Returns float64[3, N]: x, y and errors, NaN where missing."""
    points = [[number_text.to_float(v) for v in p] for p in self.points]
    values = np.array(thin(points), float).reshape(-1, 3).T
    values[:, ~np.isfinite(values[:2]).all(0)] = np.nan
    values[~np.isfinite(values)] = np.nan
    return values


def thin(points: Sequence, most: int = MOST_POINTS) -> list[tuple]:
  """Averages neighbors until at most `most` points remain; drops errors."""
  if len(points) <= most:
    return [tuple(point) for point in points]
  size = math.ceil(len(points) / most)
  thinned = []
  for start in range(0, len(points), size):
    part = points[start : start + size]
    finite = [y for _, y, _ in part if math.isfinite(y)]
    mean = sum(finite) / len(finite) if finite else math.nan
    thinned.append((sum(x for x, *_ in part) / len(part), mean, math.nan))
  return thinned


def ticks(low: float, high: float, most: int = 5) -> np.ndarray:
  """Returns round numbers that enclose [low, high], at most `most` + 2."""
  from matplotlib import ticker

  if not high > low:
    margin = max(abs(low) * 0.1, 0.5)
    low, high = low - margin, high + margin
  locator = ticker.MaxNLocator(most, steps=[1, 2, 5, 10])
  return locator.tick_values(low, high)


def lines(
  series: Sequence[Series],
  *,
  description: str,
  x_label: str,
  limits: tuple[float, float] | None = None,
  zero: bool = False,
  whole_x: bool = False,
  x_names: Sequence[str] = (),
  borders: Sequence[tuple[float, str]] = (),
  shaded: tuple[int, int] | None = None,
) -> inline_svg.Chart | None:
  """Returns a line chart with its legend; None if no value is finite.

  Args:
    series: lines; error bars show a standard error each way.
    description: text for screen readers.
    x_label: text under the axis.
    limits: range that the y axis covers at least.
    zero: whether the y axis covers 0, with a line at it.
    whole_x: whether each x has a tick.
    x_names: tick labels, in place of the numbers.
    borders: (x, name) for dotted vertical lines, sorted by x. A name is
      left out where it does not fit before the next line.
    shaded: indices of two series with equal x; shades the area between them.
  """
  values = [s.arrays() for s in series]
  x, y, error = np.concatenate([np.empty((3, 0)), *values], axis=1)
  if np.isnan(x).all():
    return None
  error = np.nan_to_num(error)
  covered = [*(limits or ()), *([0.0] if zero else [])]
  y_ticks = ticks(
    np.nanmin([*(y - error), *covered]), np.nanmax([*(y + error), *covered])
  )
  with inline_svg.new_figure(WIDTH, HEIGHT) as drawing:
    axes = drawing.add_axes(
      (
        _LEFT / WIDTH,
        _BOTTOM / HEIGHT,
        (WIDTH - _LEFT - _RIGHT) / WIDTH,
        (HEIGHT - _TOP - _BOTTOM) / HEIGHT,
      ),
      frameon=False,
    )
    axes.set_ylim(y_ticks[0], y_ticks[-1])
    axes.set_yticks(y_ticks)
    axes.grid(axis='y')
    _set_x_axis(axes, np.unique(x[~np.isnan(x)]), whole_x, x_names)
    axes.set_xlabel(x_label, loc='right', labelpad=4)
    if zero:
      line = axes.axhline(0, color=inline_svg.COLORS['soft'], linewidth=1)
      line.set_gid('axis')
    _draw_borders(axes, borders)
    if shaded:
      (x, first, _), (_, second, _) = (values[n] for n in shaded)
      axes.fill_between(
        x,
        first,
        second,
        where=~np.isnan(first + second),
        color=inline_svg.COLORS['soft'],
        alpha=0.13,
        linewidth=0,
      )
    tooltips = []
    for line, arrays in zip(series, values, strict=True):
      tooltips += _draw_line(axes, line, *arrays)
    svg = inline_svg.render(drawing, description, tooltips)
  legend = [(s.name, s.style + ' dashed' * s.dashed) for s in series]
  return inline_svg.Chart(svg, legend if len(legend) > 1 else ())


def _set_x_axis(axes, x, every_x, names) -> None:
  """Sets range and ticks on the x axis.

  Args:
    axes: to change.
    x: float64[N], distinct finite values in order.
    every_x: whether each x has a tick.
    names: tick labels, in place of the numbers.
  """
  if not every_x:
    from matplotlib import ticker

    axes.set_xlim(x[0], x[-1] if x[-1] > x[0] else x[0] + 1)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(5, steps=[1, 2, 5, 10]))
    return
  axes.set_xlim(x[0] - 0.25, x[-1] + 0.25)
  if not names:
    axes.set_xticks(x, [f'{value:g}' for value in x])
    return
  axes.set_xticks([])
  for value, name in zip(x, names, strict=True):
    # A long name is moved so that it stays inside the drawing.
    half = LETTER / 2 * len(name)
    center = axes.transData.transform((value, 0))[0]
    axes.figure.text(
      max(min(center, WIDTH - half), half) / WIDTH,
      (_BOTTOM - 6) / HEIGHT,
      inline_svg.printable(name),
      horizontalalignment='center',
      verticalalignment='top',
    )


def _draw_borders(axes, borders) -> None:
  """Draws dotted vertical lines with the names that fit."""
  ends = [x for x, _ in borders[1:]] + [axes.get_xlim()[1]]
  for (x, name), end in zip(borders, ends, strict=False):
    axes.axvline(
      x, color=inline_svg.COLORS['soft'], linewidth=1, linestyle=(0, (1, 4))
    )
    start, stop = axes.transData.transform([(x, 0), (end, 0)])[:, 0]
    if stop - start > 9 * len(name):
      axes.annotate(
        inline_svg.printable(name),
        (x, 1),
        xycoords=('data', 'axes fraction'),
        xytext=(4, -2),
        textcoords='offset points',
        verticalalignment='top',
      )


def _draw_line(axes, series, x, y, error) -> list[str]:
  """Draws a series; returns the tooltips for its markers."""
  finite = ~np.isnan(y)
  beside = np.pad(finite, 1)
  # No line shows a point whose neighbors are missing.
  alone = finite & ~beside[:-2] & ~beside[2:]
  marked = np.flatnonzero(finite if series.markers else alone)
  line, _, whiskers = axes.errorbar(
    x,
    y,
    error,
    color=inline_svg.COLORS[series.style],
    linestyle=('--' if series.dashed else '-') if series.joined else 'none',
    elinewidth=1.5,
    marker='o' if marked.size else None,
    markersize=8 if series.markers else 4,
    markeredgewidth=0,
    markevery=marked.tolist(),
  )
  line.set_gid(inline_svg.MARKERS)
  whiskers[0].set_gid('whisker')
  return [
    f'{series.name}, {x[n]:g}: {number_text.decimal(y[n])}' for n in marked
  ]
