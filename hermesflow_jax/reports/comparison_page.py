"""A page that compares arms, from the ablation job's `results.json`."""

from hermesflow_jax.reports import charts
from hermesflow_jax.reports import comparison_sweeps
from hermesflow_jax.reports import comparison_tables
from hermesflow_jax.reports import comparison_text
from hermesflow_jax.reports import html_page
from hermesflow_jax.reports import interval_charts


def render_page(results: dict) -> str:
  """Returns the tables and their charts as HTML."""
  models = results['models']
  sections = []
  for table in comparison_tables.tables(results):
    figures = []
    if table.title == comparison_tables.BASE_TITLE:
      figures = _forest_plots(models, 'base')
    elif table.title.startswith('Against '):
      figures = _forest_plots(models, 'against')
    elif table.title == comparison_sweeps.ROUNDS_TITLE:
      figures = [
        _round_chart(models, arm)
        for arm in results['rounds_of']
        if comparison_sweeps.last_round(models, arm) > 1
      ]
    sections.append((table, figures))
  return html_page.render(
    'comparison.html',
    title='An ablation of Pair-DPO',
    lead=_lead_sentence(results),
    note=comparison_text.means_note(results),
    command=results['command'],
    sweep_charts=[_sweep_chart(results, title) for title in results['sweeps']],
    sections=sections,
  )


def _lead_sentence(results) -> str:
  base = results['models'][0]
  arm = results['rounds_of'][0]
  last = [m for m in results['models'] if m['arm'] == arm][-1]
  before, after = (
    comparison_text.score(model['scores']['gap']) for model in (base, last)
  )
  return (
    f'From the base model to {last["label"]}, the gap went from {before} to '
    f'{after}.'
  )


def _forest_plots(models, since) -> list[html_page.Figure]:
  """Returns a forest plot for each score, with all models' changes.

  Args:
    models: `results['models']`.
    since: 'base' or 'against', the model that changes are relative to.
  """
  figures = []
  for name, style in comparison_text.CHART_COLORS.items():
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
    chart = interval_charts.intervals(
      rows,
      description=f'Change of {name}, {since}',
      x_label='change',
      style=style,
    )
    figures.append(
      html_page.Figure(
        name.capitalize(),
        chart,
        'Means over seeds and scenes. Error bars show two standard errors. A '
        'filled dot marks a change with a star in the table.',
      )
    )
  return figures


def _round_chart(models, arm) -> html_page.Figure:
  """Returns both scores over the rounds that an arm played."""
  points = [m for m in models if m['arm'] in ('', arm)]
  chart = charts.lines(
    [
      charts.Series(
        name,
        [
          (m['round'], m['scores'][name]['value'], m['scores'][name]['error'])
          for m in points
        ],
        style,
        markers=True,
      )
      for name, style in comparison_text.CHART_COLORS.items()
    ],
    description=f'Scores by round, {arm}',
    x_label='round',
    whole_x=True,
    shaded=(0, 1),
  )
  return html_page.Figure(
    'Understanding and generation',
    chart,
    'The shaded area is the gap. Error bars show one standard error over '
    'scenes.',
  )


def _sweep_chart(results, title) -> html_page.Figure:
  """Returns how both scores change over a sweep."""
  points, models = zip(
    *comparison_sweeps.sweep_points(results, title), strict=True
  )
  ordered = all(_is_number(point['at']) for point in points)
  series = [
    charts.Series(
      name,
      [
        (n, model['base'][name]['value'], model['base'][name]['error'])
        for n, model in enumerate(models)
      ],
      style,
      markers=True,
      joined=ordered,
    )
    for name, style in comparison_text.CHART_COLORS.items()
  ]
  chart = charts.lines(
    series,
    description=f'Changes by {title}',
    x_label='',
    zero=True,
    whole_x=True,
    x_names=[comparison_sweeps.point_name(point) for point in points],
  )
  return html_page.Figure(title.capitalize(), chart)


def _is_number(text: str) -> bool:
  try:
    float(text)
  except ValueError:
    return False
  return True
