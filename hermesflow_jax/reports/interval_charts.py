"""Forest plots: values with intervals, beside a line at 0."""

from collections.abc import Sequence

import numpy as np

from hermesflow_jax.reports import charts
from hermesflow_jax.reports import inline_svg
from hermesflow_jax.reports import number_text

# Pixels: distance of rows, and margins around them.
_PITCH, _TOP, _RIGHT, _BOTTOM = 24, 8, 28, 42
_LEAST_LEFT = 168


def intervals(
  rows: Sequence[tuple[str, float, float, bool]],
  *,
  description: str,
  x_label: str,
  style: str = 'plain',
) -> inline_svg.Chart | None:
  """Returns values with two standard errors each way, beside a line at 0.

  Args:
    rows: (name, value, standard error, whether the dot is filled), from the
      top.
    description: text for screen readers.
    x_label: text under the axis.
    style: color, a name in `inline_svg.COLORS`.

  Returns:
    The chart; None if no value is finite.
  """
  values = np.array([number_text.to_float(row[1]) for row in rows])
  errors = 2 * np.array([number_text.to_float(row[2]) for row in rows])
  values[~np.isfinite(values)] = np.nan
  errors[~np.isfinite(errors)] = np.nan
  if np.isnan(values).all():
    return None
  reach = np.nan_to_num(errors)
  marks = charts.ticks(
    np.nanmin([0, *(values - reach)]), np.nanmax([0, *(values + reach)]), 4
  )
  longest = charts.LETTER * max(len(name) for name, *_ in rows)
  left = min(max(_LEAST_LEFT, longest + 12), 0.6 * charts.WIDTH)
  height = _TOP + _PITCH * len(rows) + _BOTTOM
  color = inline_svg.COLORS[style]
  with inline_svg.new_figure(charts.WIDTH, height) as drawing:
    axes = drawing.add_axes(
      (
        left / charts.WIDTH,
        _BOTTOM / height,
        (charts.WIDTH - _RIGHT - left) / charts.WIDTH,
        _PITCH * len(rows) / height,
      ),
      frameon=False,
    )
    axes.set(xlim=(marks[0], marks[-1]), ylim=(len(rows) - 0.5, -0.5))
    axes.set_xticks(marks)
    axes.grid(axis='x')
    axes.set_xlabel(x_label, loc='right', labelpad=4)
    axes.set_yticks(
      range(len(rows)), [inline_svg.printable(name) for name, *_ in rows]
    )
    axes.tick_params(axis='y', labelcolor=inline_svg.COLORS['ink'])
    zero = axes.axvline(0, color=inline_svg.COLORS['soft'], linewidth=1)
    zero.set_gid('axis')
    tooltips = []
    for n, (name, *_, filled) in enumerate(rows):
      if np.isnan(values[n]):
        continue
      dot, _, whiskers = axes.errorbar(
        values[n],
        n,
        xerr=errors[n],
        color=color,
        elinewidth=1.5,
        marker='o',
        markersize=7,
        markeredgewidth=1.5,
        markerfacecolor=color if filled else inline_svg.COLORS['panel'],
      )
      dot.set_gid(inline_svg.MARKERS)
      whiskers[0].set_gid('whisker')
      tooltips.append(f'{name}: {number_text.decimal(values[n], signed=True)}')
    svg = inline_svg.render(drawing, description, tooltips)
  return inline_svg.Chart(svg)
