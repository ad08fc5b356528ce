"""What arms of a comparison scored: as Markdown, and as a page.

All of it is told from `results.json` of `jobs.ablation`. A number that
stands, by `scene_statistics.Difference`, is followed by a star.
"""

from hermesflow_jax.reports import bar_charts
from hermesflow_jax.reports import charts
from hermesflow_jax.reports import comparison_tables
from hermesflow_jax.reports import html_page
from hermesflow_jax.reports import markup
from hermesflow_jax.reports import score_sections


def render_page(results: dict) -> str:
  """Returns the tables and their plots as HTML."""
  models = results['models']
  body = [_head(results)]
  if results['sweeps']:
    body.append(_glance(results))
  for table in comparison_tables.tables(results):
    drawn = []
    if table.title == 'Since the base model':
      drawn = [_forest(models, 'base')]
    elif table.title.startswith('Against '):
      drawn = [_forest(models, 'against')]
    elif table.title == comparison_tables.ROUNDS:
      drawn = [
        score_sections.pair(
          *(
            _round_plot(models, arm)
            for arm in results['rounds_of']
            if comparison_tables.last(models, arm) > 1
          )
        )
      ]
    body.append(table.section(*drawn))
  return html_page.html_page('An ablation of Pair-DPO', *body)


def _head(results):
  base = results['models'][0]
  arm = results['rounds_of'][0]
  best = [m for m in results['models'] if m['arm'] == arm][-1]
  gaps = [m['scores']['gap'] for m in (base, best)]
  return markup.element(
    'header',
    markup.element('h1', 'An ablation of Pair-DPO'),
    markup.element(
      'p',
      'From the base model to '
      f'{best["label"]} the gap went from {comparison_tables.level(gaps[0])} to '
      f'{comparison_tables.level(gaps[1])}.',
      class_='lead',
    ),
    markup.element('p', comparison_tables.plus(results)),
    markup.element('pre', markup.element('code', results['command'])),
  )


def _forest(models, since):
  drawn = []
  for name, style in comparison_tables.DRAWN.items():
    rows = [
      (
        m['label'],
        m[since][name]['value'],
        m[since][name]['error'],
        m[since][name]['stands'],
      )
      for m in models
      if m.get(since)
    ]
    drawn.append(
      score_sections.figure(
        name.capitalize(),
        bar_charts.intervals(
          rows, description=f'Change of {name}', x_label='change', style=style
        ),
        'Means over seeds and scenes, bars two standard errors each way. Full '
        'dots stand, as the stars of the table; rings do not.',
      )
    )
  return score_sections.pair(*drawn)


def _round_plot(models, arm):
  mine = [m for m in models if m['arm'] in ('', arm)]
  both = charts.lines(
    [
      charts.Series(
        name,
        [
          (m['round'], m['scores'][name]['value'], m['scores'][name]['error'])
          for m in mine
        ],
        style,
        markers=True,
      )
      for name, style in comparison_tables.DRAWN.items()
    ],
    description='Scores by round',
    x_label='round',
    whole_x=True,
    shaded=(0, 1),
  )
  return score_sections.figure(
    'Understanding and generation',
    both,
    'The shaded band is the gap; bars are one standard error over scenes.',
  )


def _glance(results) -> markup.Markup:
  """Returns a section with the plots of all sweeps."""
  return html_page.section(
    'Sensitivities',
    'What understanding and generation changed by since the '
    'base model, as one setting after the other is changed. Bars are one '
    'standard error each way, over scenes and seeds; models share scenes and '
    'seeds, so the tables below tell them apart better.',
    score_sections.pair(
      *(_sweep_plot(results, title) for title in results['sweeps'])
    ),
  )


def _sweep_plot(results, title):
  points, arms = zip(*comparison_tables.points(results, title))
  ordered = all(_is_number(point['at']) for point in points)
  series = [
    charts.Series(
      name,
      [
        (n, one['base'][name]['value'], one['base'][name]['error'])
        for n, one in enumerate(arms)
      ],
      style,
      markers=True,
      joined=ordered,
    )
    for name, style in comparison_tables.DRAWN.items()
  ]
  drawing = charts.lines(
    series,
    description=f'Changes by {title}',
    x_label='',
    zero=True,
    whole_x=True,
    x_names=[comparison_tables.at(point) for point in points],
  )
  return score_sections.figure(title.capitalize(), drawing, '')


def _is_number(text) -> bool:
  try:
    float(text)
  except ValueError:
    return False
  return True
