"""Charts as inline SVG, drawn without a plotting library.

Colours come from CSS classes (`und`, `gen`, `gap`, `plain`), so a chart
follows the page's colour scheme. Values that are not finite are left out.
"""

from collections.abc import Sequence
import dataclasses
import math

from hermesflow_jax.reports import markup

WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 10, 40
# Letters of 13 px are at most so wide, in the mean of a name.
LETTER = 7.2
MOST_POINTS = 240
EMPTY = markup.element('p', 'Nothing was measured.', class_='empty')


@dataclasses.dataclass(frozen=True)
class Series:
  """One line of a chart.

  Attributes:
    name: in the legend.
    points: (x, y, standard error or None), in order of x.
    style: CSS class of its colour.
    dashed: a dashed line.
    markers: a mark at each point.
    joined: a line from point to point; without one x has no order.
  """

  name: str
  points: Sequence[tuple]
  style: str = 'plain'
  dashed: bool = False
  markers: bool = False
  joined: bool = True


def ticks(low: float, high: float, most: int = 5) -> list[float]:
  """Returns round numbers that enclose [low, high], at most `most` + 2."""
  if not high > low:
    room = max(abs(low) * 0.1, 0.5)
    low, high = low - room, high + room
  raw = (high - low) / most
  unit = 10.0 ** math.floor(math.log10(raw))
  step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= raw * 0.999)
  first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
  return [round(n * step, 12) for n in range(first, last + 1)]


def label(value, step):
  digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step < 1 else 0
  text = f'{value:.{digits}f}' if abs(value) < 1e5 else f'{value:.0e}'
  return text.replace('-', '−')


def thin(points: Sequence[tuple], most: int = MOST_POINTS) -> list[tuple]:
  """Returns at most `most` points, means of neighbours; errors are lost."""
  if len(points) <= most:
    return list(points)
  size = math.ceil(len(points) / most)
  out = []
  for start in range(0, len(points), size):
    part = points[start : start + size]
    fine = [y for _, y, _ in part if math.isfinite(y)]
    mean = sum(fine) / len(fine) if fine else math.nan
    out.append((sum(x for x, *_ in part) / len(part), mean, None))
  return out


def legend(entries: Sequence[tuple[str, str]]) -> markup.Markup:
  """Returns a row of (name, CSS classes) swatches."""
  return markup.element(
    'div',
    markup.join(
      markup.element(
        'span', markup.element('i', class_=f'swatch {style}'), name
      )
      for name, style in entries
    ),
    class_='legend',
  )


def _runs(points):
  """Splits points at values that are not finite."""
  run = []
  for point in points:
    if math.isfinite(point[0]) and math.isfinite(point[1]):
      run.append(point)
    elif run:
      yield run
      run = []
  if run:
    yield run


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
) -> markup.Markup:
  """Returns a line chart with its legend.

  Args:
    series: its lines; error bars are one standard error each way.
    description: what is drawn, for those who cannot see it.
    x_label: under the axis.
    limits: the least range of y.
    zero: y includes 0, which is drawn as a line.
    whole_x: a tick at each x.
    x_names: what stands at these ticks, in place of the numbers.
    borders: (x, name) of dotted vertical lines in order of x, named to their
      right where the next one leaves room.
    shaded: indices of two series with the same x, shaded between.
  """
  series = [
    dataclasses.replace(
      s,
      points=thin(
        [
          (markup.number(x), markup.number(y), markup.number(e))
          for x, y, e in s.points
        ]
      ),
    )
    for s in series
  ]
  seen = [p for s in series for run in _runs(s.points) for p in run]
  if not seen:
    return EMPTY
  errors = [e if math.isfinite(markup.number(e)) else 0.0 for *_, e in seen]
  lows = [y - e for (_, y, _), e in zip(seen, errors)]
  highs = [y + e for (_, y, _), e in zip(seen, errors)]
  extra = list(limits or ()) + ([0.0] if zero else [])
  y_ticks = ticks(min(lows + extra), max(highs + extra))
  xs = sorted({x for x, *_ in seen})
  if whole_x:
    x_ticks, x_low, x_high = xs, xs[0] - 0.25, xs[-1] + 0.25
  else:
    x_low, x_high = xs[0], xs[-1] if xs[-1] > xs[0] else xs[0] + 1
    x_ticks = [t for t in ticks(x_low, x_high) if x_low <= t <= x_high]
  frame = _Frame(x_low, x_high, y_ticks[0], y_ticks[-1])
  parts = _axes(frame, x_ticks, y_ticks, x_label, zero, x_names)
  parts += _borders(frame, borders)
  if shaded:
    parts += _between(frame, *(series[n].points for n in shaded))
  parts += [_line(frame, one) for one in series]
  drawing = markup.element(
    'svg',
    markup.join(parts),
    viewBox=f'0 0 {WIDTH} {HEIGHT}',
    role='img',
    aria_label=description,
  )
  names = [(s.name, s.style + ' dashed' * s.dashed) for s in series]
  return markup.join([legend(names) if len(names) > 1 else '', drawing])


@dataclasses.dataclass(frozen=True)
class _Frame:
  """The range of values that fills the drawing."""

  x_low: float
  x_high: float
  y_low: float
  y_high: float

  def across(self, x: float) -> float:
    """Returns where a value of x lies, in pixels from the left border."""
    share = (x - self.x_low) / (self.x_high - self.x_low)
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

  def down(self, y: float) -> float:
    """Returns where a value of y lies, in pixels from the upper border."""
    share = (y - self.y_low) / (self.y_high - self.y_low)
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def _inside(x, name):
  """The place of a name in the middle of x, or next to it if it is long."""
  half = LETTER / 2 * len(name)
  return round(max(min(x, WIDTH - half), half), 1)


def _axes(frame, x_ticks, y_ticks, x_label, zero, x_names):
  """Grid lines, numbers and the name of x."""
  parts = []
  for tick in y_ticks:
    at = frame.down(tick)
    parts += [
      markup.element(
        'line',
        x1=LEFT,
        x2=WIDTH - RIGHT,
        y1=at,
        y2=at,
        class_='axis' if zero and abs(tick) < 1e-12 else 'grid',
      ),
      markup.element(
        'text',
        label(tick, y_ticks[1] - y_ticks[0]),
        x=LEFT - 8,
        y=at + 4,
        text_anchor='end',
      ),
    ]
  step = min((b - a for a, b in zip(x_ticks, x_ticks[1:])), default=1)
  names = x_names or [label(tick, step) for tick in x_ticks]
  parts += [
    markup.element(
      'text',
      name,
      x=_inside(frame.across(tick), name),
      y=HEIGHT - BOTTOM + 17,
      text_anchor='middle',
    )
    for tick, name in zip(x_ticks, names, strict=True)
  ]
  parts.append(
    markup.element(
      'text', x_label, x=WIDTH - RIGHT, y=HEIGHT - 4, text_anchor='end'
    )
  )
  return parts


def _borders(frame, borders):
  """Dotted lines; a name only where it does not reach the next line."""
  parts = []
  ends = [x for x, _ in borders[1:]] + [frame.x_high]
  for (x, name), end in zip(borders, ends):
    at = frame.across(x)
    parts.append(
      markup.element(
        'line', x1=at, x2=at, y1=TOP, y2=HEIGHT - BOTTOM, class_='border'
      )
    )
    if frame.across(end) - at > 9 * len(name):
      parts.append(markup.element('text', name, x=at + 4, y=TOP + 11))
  return parts


def _between(frame, one, other):
  """The area between two lines."""
  parts = []
  # The sum is finite where both are.
  both = [(x, a + b, a, b) for (x, a, _), (_, b, _) in zip(one, other)]
  for run in _runs(both):
    edge = [(x, a) for x, _, a, _ in run]
    edge += [(x, b) for x, _, _, b in reversed(run)]
    parts.append(
      markup.element('polygon', points=_path(frame, edge), class_='between')
    )
  return parts


def _path(frame, spots):
  return ' '.join(f'{frame.across(x)},{frame.down(y)}' for x, y in spots)


def _line(frame, one):
  """One series: line, error bars, markers."""
  parts = []
  for run in _runs(one.points):
    if one.joined:
      parts.append(
        markup.element(
          'polyline',
          points=_path(frame, [(x, y) for x, y, _ in run]),
          class_='dashed' if one.dashed else None,
        )
      )
    for x, y, error in run:
      at = frame.across(x)
      if math.isfinite(markup.number(error)):
        parts.append(
          markup.element(
            'line',
            x1=at,
            x2=at,
            y1=frame.down(y - error),
            y2=frame.down(y + error),
            class_='whisker',
          )
        )
      if one.markers or len(run) == 1:
        said = f'{one.name}, {x:g}: {markup.decimal(y)}'
        parts.append(
          markup.element(
            'circle',
            markup.element('title', said),
            cx=at,
            cy=frame.down(y),
            r=3.5 if one.markers else 2,
          )
        )
  return markup.element('g', markup.join(parts), class_=f'series {one.style}')
