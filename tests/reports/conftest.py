"""Reports with all of their drawings."""

import plain_charts
import pytest


@pytest.fixture(scope='module', autouse=True)
def drawn():
  """Draws charts, which other folders leave out."""
  with pytest.MonkeyPatch.context() as patch:
    plain_charts.draw(patch)
    yield
