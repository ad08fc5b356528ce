"""Bars are as long as their values."""

import math

import page_reader
import pytest

from hermesflow_jax.reports import bar_charts


def widths(read, kind):
  """Returns the widths of all bars of a kind, from the top."""
  corners = [
    [x for x, _ in page_reader.spots(path)] for path in read.all('path', kind)
  ]
  return [max(xs) - min(xs) for xs in corners]


def test_bars_are_as_long_as_their_shares():
  chart = bar_charts.bars(
    [('a', [0.25, 1.0]), ('b', [0.5, math.nan]), ('c', [7.0, None])],
    [('before', 'und-pale'), ('after', 'und')],
    description='d',
  )
  read = page_reader.Reader(chart.svg)
  full = widths(read, 'rail')
  assert len(full) == 6 and len(set(full)) == 1
  shares = [width / full[0] for width in widths(read, 'bar')]
  assert shares == pytest.approx([0.25, 1, 0.5, 0, 1, 0])
  assert '0.250' in read.text and '7.000' in read.text and '–' in read.text


def test_no_groups_are_no_chart():
  assert bar_charts.bars([], [('a', 'und')], description='d') is None
