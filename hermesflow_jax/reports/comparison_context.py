"""Tables beside a comparison: search, budget, judge, baselines."""

from hermesflow_jax.reports import markup
from hermesflow_jax.reports import result_table


def search(results) -> list[result_table.Table]:
  rows = []
  for name, tried in results['search'].items():
    rates = [float(rate) for rate in tried['rates']]
    for rate, one in tried['rates'].items():
      chosen = float(rate) == tried['chosen']
      edge = float(rate) in (min(rates), max(rates)) and len(rates) > 1
      rows.append(
        [
          tried['label'],
          f'{float(rate):g}'
          + chosen
          * (' (chosen; none beyond was tried)' if edge else ' (chosen)'),
          *(
            f'{markup.decimal(one[k])} ± {markup.decimal(one[k + "_se"])}'
            for k in ('understanding', 'generation', 'gap')
          ),
        ]
      )
  note = (
    f'One round of seed {results["seeds"][0]}, measured on scenes of the '
    'preference split drawn anew, as the inputs are: the highest sum of '
    'understanding and generation is taken.'
  )
  return [
    result_table.Table(
      'Learning rates',
      note,
      ['arm', 'rate', 'understanding', 'generation', 'gap'],
      rows,
    )
  ]


def mean(values, digits=0) -> str:
  found = [v for v in values if v is not None]
  return markup.decimal(sum(found) / len(found), digits) if found else '–'


def budget(models) -> result_table.Table:
  rows = [
    [
      m['label'],
      f'{m["rate"]:g}',
      mean(m['pairs']),
      mean(m['steps']),
      mean(m['seconds']),
    ]
    for m in models
    if m['round']
  ]
  return result_table.Table(
    'Budgets',
    'Means over seeds, of each round alone. Seconds are of learning.',
    ['model', 'rate', 'inputs with pairs', 'steps', 'seconds'],
    rows,
  )


def judging(results) -> result_table.Table:
  names = {
    'correlation': 'correlation',
    'self_score': 'own score',
    'judge_score': 'judge’s',
    'best_by_judge': 'best by judge',
    'winners_by_judge': 'winners',
    'losers_by_judge': 'losers',
    'judge_agrees': 'agrees',
    'judge_disagrees': 'disagrees',
  }
  rows = [
    [
      m['label'],
      *(mean([c.get(name) for c in m['curation']], 3) for name in names),
    ]
    for m in results['models']
    if m['round'] and m['arm'] in results['rounds_of']
  ]
  return result_table.Table(
    'What judging oneself costs',
    'Of the candidates that the round learned '
    'from, drawn by the model before it: the correlation of the model’s own '
    'score and the judge’s among images of one caption; mean scores of all '
    'candidates by both, which drift apart where a model learns to please '
    'itself; the best of each caption by the judge; the chosen winners and '
    'losers by the judge, and how often he agrees and disagrees with a pair, '
    'of all pairs of images, whether captions made one, too, or not.',
    ['round', *names.values()],
    rows,
  )


def floors(results) -> result_table.Table:
  rows = []
  for label, found in results['floors'].items():
    for image, one in found.items():
      rows.append(
        [
          label,
          image,
          *(
            f'{markup.decimal(one[k])} ± {markup.decimal(one[k + "_se"])}'
            for k in ('understanding', 'judge')
          ),
        ]
      )
  return result_table.Table(
    'What is known without the image',
    'The same questions about the real '
    'image, another scene’s, and an empty one: by the model (understanding) '
    'and by the judge, for whom the real image is the most that a generated '
    f'one can reach. Seed {results["seeds"][0]}.',
    ['model', 'image', 'understanding', 'judge'],
    rows,
  )
