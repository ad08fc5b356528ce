"""Given codes stay, unknown ones are drawn, each once."""

import numpy as np
import pytest

from hermesflow_jax.sampling import inpainting

GRID = (4, 4)
SIDES = [
  ('right',),
  ('down',),
  ('left', 'up'),
  ('right', 'down'),
  ('up', 'left', 'down', 'right', 'right'),
]


def first():
  """Two canvases of one grid."""
  return np.arange(32, dtype=np.int32).reshape(2, *GRID)


def test_a_mask_hides_each_code_that_it_touches():
  mask = np.zeros((16, 24), bool)
  mask[0, 5] = mask[15, 23] = True
  expected = np.zeros((4, 4), bool)
  expected[0, 0] = expected[3, 3] = True
  np.testing.assert_array_equal(inpainting.masked_codes(mask, (4, 4)), expected)


@pytest.mark.parametrize(
  'side, where',
  [
    ('left', np.s_[:, :, 2:]),
    ('right', np.s_[:, :, :4]),
    ('up', np.s_[:, 2:]),
    ('down', np.s_[:, :4]),
  ],
)
def test_a_canvas_grows_by_half_a_grid_on_its_side(side, where):
  actual = inpainting.extend_canvas(first(), side, GRID)
  np.testing.assert_array_equal(actual[where], first())
  assert (actual == inpainting.UNKNOWN).sum() == 2 * 8


@pytest.mark.parametrize('sides', SIDES)
def test_every_unknown_code_is_drawn_once_and_the_others_stay(sides):
  canvas, drawn = first(), []

  def draw(number, codes, known):
    assert codes.shape == known.shape == (2, *GRID)
    assert known.any() and not known.all() and (codes[~known] == 0).all()
    drawn.append((~known[0]).sum())
    return np.where(known, codes, 100 + number)

  for side in sides:
    before, drawn[:] = canvas, []
    grown = inpainting.extend_canvas(canvas, side, GRID)
    canvas = inpainting.fill_canvas(grown, GRID, draw)
    assert (canvas >= 0).all()
    assert sum(drawn) == grown[0].size - before[0].size
    kept = grown != inpainting.UNKNOWN
    np.testing.assert_array_equal(canvas[kept], before.ravel())


def test_a_whole_grid_is_one_window():
  canvas = np.full((3, *GRID), inpainting.UNKNOWN)
  assert inpainting.canvas_windows(canvas, GRID) == [(0, 0)]


def test_windows_reach_the_border_of_a_canvas_of_any_size():
  canvas = np.full((1, 5, 11), inpainting.UNKNOWN)
  unknown = np.ones((5, 11), bool)
  for top, left in inpainting.canvas_windows(canvas, GRID):
    unknown[top : top + 4, left : left + 4] = False
  assert not unknown.any()


def test_what_fills_a_canvas_is_not_the_canvas_that_was_given():
  canvas = np.full((1, *GRID), inpainting.UNKNOWN)
  inpainting.fill_canvas(canvas, GRID, lambda n, codes, known: codes + 7)
  assert (canvas == inpainting.UNKNOWN).all()
