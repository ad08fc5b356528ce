"""Bar charts and interval charts."""

from collections.abc import Sequence
import math

from hermesflow_jax.reports import charts
from hermesflow_jax.reports import markup


def bars(
  groups: Sequence[tuple[str, Sequence[float]]],
  names: Sequence[tuple[str, str]],
  *,
  description: str,
) -> markup.Markup:
  """Returns grouped horizontal bars of shares in [0, 1], with a legend.

  Args:
    groups: (name, one value a bar).
    names: (name, CSS classes) of each bar of a group.
    description: what is drawn, for those who cannot see it.
  """
  if not groups:
    return charts.EMPTY
  thick, room = 13, charts.WIDTH - 56
  pitch = 20 + len(names) * (thick + 2) + 10
  parts = []
  for n, (name, values) in enumerate(groups):
    top = n * pitch
    parts.append(markup.element('text', name, x=0, y=top + 13, class_='name'))
    for k, ((_, style), value) in enumerate(zip(names, values, strict=True)):
      value = markup.number(value)
      y = top + 20 + k * (thick + 2)
      share = min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0
      parts += [
        markup.element(
          'rect', x=0, y=y, width=room, height=thick, class_='rail'
        ),
        markup.element(
          'rect',
          x=0,
          y=y,
          width=f'{share * room:.1f}',
          height=thick,
          class_=f'bar {style}',
        ),
        markup.element(
          'text',
          markup.decimal(value),
          x=charts.WIDTH,
          y=y + 11,
          text_anchor='end',
        ),
      ]
  height = len(groups) * pitch - 8
  return markup.join(
    [
      charts.legend(names),
      markup.element(
        'svg',
        markup.join(parts),
        viewBox=f'0 0 {charts.WIDTH} {height}',
        role='img',
        aria_label=description,
      ),
    ]
  )


def intervals(
  rows: Sequence[tuple[str, float, float, bool]],
  *,
  description: str,
  x_label: str,
  style: str = 'plain',
) -> markup.Markup:
  """Returns values with two standard errors each way, beside a line at 0.

  Args:
    rows: (name, value, standard error, whether its dot is full), from the
      top.
    description: what is drawn, for those who cannot see it.
    x_label: under the axis.
    style: CSS class of the colour.
  """
  rows = [(n, markup.number(v), markup.number(e), f) for n, v, e, f in rows]
  fine = [
    (v, 2 * e if math.isfinite(e) else 0.0)
    for _, v, e, _ in rows
    if math.isfinite(v)
  ]
  if not fine:
    return charts.EMPTY
  longest = charts.LETTER * max(len(name) for name, *_ in rows)
  left = round(min(max(168, longest + 12), 0.6 * charts.WIDTH))
  # The last number is written about its mark.
  right, pitch, top = charts.WIDTH - 28, 24, 8
  marks = charts.ticks(
    min([0.0] + [v - e for v, e in fine]),
    max([0.0] + [v + e for v, e in fine]),
    4,
  )
  bottom = top + pitch * len(rows)

  def across(value):
    share = (value - marks[0]) / (marks[-1] - marks[0])
    return round(left + share * (right - left), 1)

  parts = []
  for mark in marks:
    parts += [
      markup.element(
        'line',
        x1=across(mark),
        x2=across(mark),
        y1=top,
        y2=bottom,
        class_='axis' if abs(mark) < 1e-12 else 'grid',
      ),
      markup.element(
        'text',
        charts.label(mark, marks[1] - marks[0]),
        x=across(mark),
        y=bottom + 17,
        text_anchor='middle',
      ),
    ]
  drawn = []
  for n, (name, value, error, full) in enumerate(rows):
    y = top + pitch * (n + 0.5)
    parts.append(
      markup.element(
        'text', name, x=left - 10, y=y + 4, text_anchor='end', class_='name'
      )
    )
    if not math.isfinite(value):
      continue
    if math.isfinite(error):
      drawn.append(
        markup.element(
          'line',
          x1=across(value - 2 * error),
          x2=across(value + 2 * error),
          y1=y,
          y2=y,
          class_='whisker',
        )
      )
    said = f'{name}: {markup.decimal(value, signed=True)}'
    drawn.append(
      markup.element(
        'circle',
        markup.element('title', said),
        cx=across(value),
        cy=y,
        r=3.5,
        class_=None if full else 'ring',
      )
    )
  parts.append(
    markup.element('g', markup.join(drawn), class_=f'series {style}')
  )
  parts.append(
    markup.element('text', x_label, x=right, y=bottom + 36, text_anchor='end')
  )
  return markup.element(
    'svg',
    markup.join(parts),
    viewBox=f'0 0 {charts.WIDTH} {bottom + 42}',
    role='img',
    aria_label=description,
  )
