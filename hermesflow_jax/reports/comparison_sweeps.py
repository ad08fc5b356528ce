"""Tables of scores over a swept setting, or over rounds."""

from hermesflow_jax.evaluation import scene_statistics
from hermesflow_jax.reports import comparison_text
from hermesflow_jax.reports import number_text
from hermesflow_jax.reports import result_table
from hermesflow_jax.reports import score_rows

ROUNDS_TITLE = 'Round by round'

# Column of each headline score.
HEADLINE = {
  'understanding': 'understanding',
  'generation': 'generation',
  'gap': 'gap',
  'caption_similarity': 'caption similarity',
  scene_statistics.TASK_MEAN: scene_statistics.TASK_MEAN,
}


def last_round(models: list[dict], arm: str) -> int:
  """Returns the last round that an arm played."""
  return max(m['round'] for m in models if m['arm'] == arm)


def round_table(results: dict) -> result_table.Table:
  """Returns the changes by round, for arms with several rounds."""
  models = results['models']
  rows = [
    [
      model['label'],
      *(
        comparison_text.change(model['base'][name])
        if name in model['base']
        else number_text.NOTHING
        for name in HEADLINE
      ),
      *(
        number_text.decimal(value, signed=True)
        for value in model['base']['gap']['runs']
      ),
    ]
    for arm in results['rounds_of']
    if last_round(models, arm) > 1
    for model in models
    if model['arm'] == arm
  ]
  return result_table.Table(
    ROUNDS_TITLE,
    'Changes since the base model, and that of the gap for each '
    f'seed. {comparison_text.SIGNIFICANCE_NOTE}',
    [
      'round',
      *HEADLINE.values(),
      *(f'gap, seed {seed}' for seed in results['seeds']),
    ],
    rows,
  )


def sweep_points(results: dict, title: str) -> list[tuple[dict, dict]]:
  """Returns (point, model) for each point in a sweep."""
  models = {(m['arm'], m['round']): m for m in results['models']}
  return [
    (point, models[point['arm'], point['round']])
    for point in results['sweeps'][title]
  ]


def point_name(point: dict) -> str:
  """Returns a point's setting, with its round unless that is the first."""
  named = point['round'] == 1 or point['at'] == str(point['round'])
  return point['at'] + ('' if named else f', round {point["round"]}')


def sweep_tables(results: dict) -> list[result_table.Table]:
  """Returns a table for each sweep, with a row for each point."""
  tables = []
  for title in results['sweeps']:
    rows = []
    for point, model in sweep_points(results, title):
      against = point.get('against')
      rows.append(
        [
          point_name(point),
          comparison_text.mean(model['pairs']),
          *(
            comparison_text.mean([c.get(k) for c in model['curation']], 3)
            for k in ('winners_by_judge', 'losers_by_judge')
          ),
          *(
            comparison_text.score(model['scores'][name])
            for name in comparison_text.CHART_COLORS
          ),
          *(
            comparison_text.change(against[name])
            if against
            else number_text.NOTHING
            for name in score_rows.SCORES
          ),
        ]
      )
    significance = (
      'A star, as above, marks what stands.'
      if tables
      else comparison_text.SIGNIFICANCE_NOTE
    )
    tables.append(
      result_table.Table(
        title.capitalize(),
        'Inputs with pairs, and the judge’s scores of winners and losers of '
        'all pairs of images; scores; changes against the row without any. '
        + significance,
        [
          '',
          'pairs',
          'winners',
          'losers',
          *comparison_text.CHART_COLORS,
          *(f'Δ {name}' for name in score_rows.SCORES),
        ],
        rows,
      )
    )
  return tables
