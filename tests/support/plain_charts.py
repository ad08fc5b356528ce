"""Charts of reports, with their drawings or without.

A drawing takes a tenth of a second, as long as many tests.
"""

import markupsafe
import pytest

from hermesflow_jax.reports import bar_charts
from hermesflow_jax.reports import charts
from hermesflow_jax.reports import inline_svg
from hermesflow_jax.reports import interval_charts

_DRAWN = (
  (charts, 'lines', charts.lines),
  (bar_charts, 'bars', bar_charts.bars),
  (interval_charts, 'intervals', interval_charts.intervals),
)


def leave_out(patch: pytest.MonkeyPatch) -> None:
  """Puts an empty drawing in the place of each chart."""
  chart = inline_svg.Chart(markupsafe.Markup('<svg></svg>'))
  for module, name, _ in _DRAWN:
    patch.setattr(module, name, lambda *_, **__: chart)


def draw(patch: pytest.MonkeyPatch) -> None:
  """Draws charts as in a report of a user."""
  for module, name, function in _DRAWN:
    patch.setattr(module, name, function)
