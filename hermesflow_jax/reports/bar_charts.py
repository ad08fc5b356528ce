"""Grouped bar charts."""

from collections.abc import Sequence

import numpy as np

from hermesflow_jax.reports import charts
from hermesflow_jax.reports import inline_svg
from hermesflow_jax.reports import number_text

# Pixels: thickness and distance of bars, heading and space of a group.
_THICKNESS, _STEP, _HEADING, _SPACE = 13, 15, 20, 10
# Pixels right of the bars, for their values.
_VALUES = 56


def bars(
  groups: Sequence[tuple[str, Sequence[float]]],
  bar_names: Sequence[tuple[str, str]],
  *,
  description: str,
) -> inline_svg.Chart | None:
  """Returns grouped horizontal bars with a legend; None without groups.

  Args:
    groups: (name, values); values are shares in [0, 1], in the order of bars.
    bar_names: (name, color) for each bar in a group, with a name in
      `inline_svg.COLORS` as color.
    description: text for screen readers.
  """
  if not groups:
    return None
  pitch = _HEADING + len(bar_names) * _STEP + _SPACE
  height = len(groups) * pitch - 8
  with inline_svg.new_figure(charts.WIDTH, height) as drawing:
    # The full bar ends at x = 1, and y counts pixels from the top.
    axes = drawing.add_axes((0, 0, 1, 1), frameon=False)
    right = charts.WIDTH / (charts.WIDTH - _VALUES)
    axes.set(xlim=(0, right), ylim=(height, 0), xticks=[], yticks=[])
    for row, (name, values) in enumerate(groups):
      top = row * pitch
      axes.text(
        0, top + 13, inline_svg.printable(name), color=inline_svg.COLORS['ink']
      )
      for bar, (_, color) in enumerate(bar_names):
        value = number_text.to_float(values[bar])
        center = top + _HEADING + bar * _STEP + _THICKNESS / 2
        share = np.clip(value, 0, 1) if np.isfinite(value) else 0
        for length, fill, gid in ((1, 'rail', 'rail'), (share, color, 'bar')):
          (patch,) = axes.barh(
            center, length, _THICKNESS, color=inline_svg.COLORS[fill]
          )
          patch.set_gid(gid)
        axes.text(
          right,
          center,
          number_text.decimal(value),
          horizontalalignment='right',
          verticalalignment='center_baseline',
        )
    svg = inline_svg.render(drawing, description)
  return inline_svg.Chart(svg, bar_names)
