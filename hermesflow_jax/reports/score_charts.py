"""Charts of scores by round and by element type.

`rows` are the `rounds` in `results.json`; the first is the base model.
"""

from collections.abc import Sequence

from hermesflow_jax.reports import bar_charts
from hermesflow_jax.reports import charts
from hermesflow_jax.reports import html_page
from hermesflow_jax.reports import number_text
from hermesflow_jax.reports import score_rows


def round_charts(
  rows: Sequence[dict], control: Sequence[dict]
) -> list[html_page.Figure]:
  """Charts both scores, and the gap, over rounds."""
  scores = charts.lines(
    [
      charts.Series(name, _points(rows, name), style, markers=True)
      for name, style in (('understanding', 'und'), ('generation', 'gen'))
    ],
    description='Understanding and generation over rounds',
    x_label='round',
    whole_x=True,
    shaded=(0, 1),
  )
  series = [
    charts.Series('self-play', _points(rows, 'gap'), 'gap', markers=True)
  ]
  for name in dict.fromkeys(r.get('name', 'control') for r in control):
    points = [r for r in control if r.get('name', 'control') == name]
    # A control starts at the base model, too.
    if rows and points[0].get('round') != rows[0].get('round'):
      points = [rows[0], *points]
    series.append(
      charts.Series(
        name, _points(points, 'gap'), 'plain', dashed=True, markers=True
      )
    )
  gaps = charts.lines(
    series,
    description='The gap over rounds',
    x_label='round',
    zero=True,
    whole_x=True,
  )
  return [
    html_page.Figure(
      'Understanding and generation',
      scores,
      'Share of questions that are answered correctly: about real images '
      'by the model (understanding), and about generated images by the '
      'judge (generation). The shaded area is the gap. Error bars show one '
      'standard error.',
    ),
    html_page.Figure(
      'Gap',
      gaps,
      'Understanding minus generation; smaller is better. Error bars show '
      'one standard error, paired over scenes.'
      + (' Dashed lines are the controls.' if control else ''),
    ),
  ]


def type_charts(rows: Sequence[dict]) -> list[html_page.Figure]:
  """Charts both scores by element type, before and after."""
  base, last = (row.get('by_type') or {} for row in (rows[0], rows[-1]))
  figures = []
  for name, style, source in (
    ('understanding', 'und', 'about real images, answered by the model.'),
    ('generation', 'gen', 'about generated images, answered by the judge.'),
  ):
    groups = []
    for kind in dict.fromkeys([*base, *last]):
      questions = (last.get(kind) or base.get(kind)).get('questions')
      count = f'({number_text.whole(questions)} questions)'
      scores = [side.get(kind, {}).get(name) for side in (base, last)]
      groups.append((f'{score_rows.readable_name(kind)} {count}', scores))
    bar_names = [
      ('base model', f'{style}-pale'),
      (score_rows.last_round(rows), style),
    ]
    figures.append(
      html_page.Figure(
        name.capitalize(),
        bar_charts.bars(
          groups, bar_names, description=f'{name} by element type'
        ),
        f'Share of correct answers to questions {source}',
        'bars',
      )
    )
  return figures


def _points(rows, name):
  return [(r.get('round'), r.get(name), r.get(f'{name}_se')) for r in rows]
