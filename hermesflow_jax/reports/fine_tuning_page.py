"""A page about a fine-tuning run: losses over steps, and drawn previews."""

from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from hermesflow_jax.reports import charts
from hermesflow_jax.reports import html_page
from hermesflow_jax.reports import number_text

# Title and color of a task's chart.
_TASKS = {
  't2i': ('Images given a caption (t2i)', 'gen'),
  'mmu': ('Text given an image (mmu)', 'und'),
  'lm': ('Text alone (lm)', 'plain'),
}
# 'held-out' with a hyphen at which no line breaks.
_HELD_OUT = 'held\u2011out'


def render_page(
  *,
  title: str,
  command: str,
  examples: Mapping[str, int],
  metrics: Sequence[Mapping],
  measurements: Sequence[Mapping],
  best: Mapping | None,
  previews: Sequence[tuple[str, Sequence[tuple[int, np.ndarray]]]],
) -> str:
  """Returns the page as HTML.

  Args:
    title: page title.
    command: command that started the run; '' hides it.
    examples: number of examples by task.
    metrics: logged metrics, each with a 'step'.
    measurements: held-out losses, see `held_out_loss.read_history`.
    best: the measurement with the lowest total; None for none.
    previews: (prompt, (step, uint8[H, W, 3]) for each step) by prompt.
  """
  return html_page.render(
    'fine_tuning.html',
    title=title,
    command=command,
    lead=lead_sentence(metrics, measurements, best),
    notes=[
      'Examples: '
      + ', '.join(
        f'{number_text.whole(count)} for {task}'
        for task, count in examples.items()
      )
      + '.'
    ],
    charts=[
      _chart(task, metrics, measurements, *style)
      for task, style in _TASKS.items()
    ],
    measurements=html_page.TableContent(
      ['Step', *_TASKS, 'weighted sum'],
      [
        (
          _step_name(row, best),
          *(number_text.decimal(row.get(name)) for name in (*_TASKS, 'total')),
        )
        for row in measurements
      ],
    ),
    previews=previews,
  )


def lead_sentence(
  metrics: Sequence[Mapping],
  measurements: Sequence[Mapping],
  best: Mapping | None,
) -> str:
  """Returns the number of steps, and the step of the best held-out loss."""
  last = max((row['step'] for row in metrics), default=0)
  text = f'The model learned for {number_text.whole(last)} steps.'
  if not best:
    return text
  loss = number_text.decimal(best['total'])
  if best['step'] == measurements[-1]['step']:
    return f'{text} Its {_HELD_OUT} loss is lowest at the end, {loss}.'
  return (
    f'{text} Its {_HELD_OUT} loss was lowest at step '
    f'{number_text.whole(best["step"])}, {loss}.'
  )


def _step_name(row, best) -> str:
  name = number_text.whole(row['step'])
  return f'{name} (best)' if best and row['step'] == best['step'] else name


def _chart(task, metrics, measurements, name, style) -> html_page.Figure:
  """Returns the chart of a task's losses."""
  series = [
    charts.Series(
      'training rows',
      [
        (row['step'], row[f'loss/{task}'], None)
        for row in metrics
        if f'loss/{task}' in row
      ],
      style,
      dashed=bool(measurements),
    )
  ]
  if measurements:
    points = [(row['step'], row.get(task), None) for row in measurements]
    series.append(charts.Series('held-out rows', points, style, markers=True))
  drawing = charts.lines(series, description=name, x_label='step')
  return html_page.Figure(name, drawing)
