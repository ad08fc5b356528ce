"""Tables around a comparison: search, budgets, scorers, judge, baselines."""

from hermesflow_jax.reports import comparison_text
from hermesflow_jax.reports import result_table
from hermesflow_jax.reports import score_rows


def search_table(results: dict) -> result_table.Table:
  """Returns the scores at all learning rates that were tried."""
  rows = []
  for tried in results['search'].values():
    rates = [float(rate) for rate in tried['rates']]
    for rate, scores in tried['rates'].items():
      remark = ''
      if float(rate) == tried['chosen']:
        # The best rate may lie beyond the ends of the grid.
        at_end = float(rate) in (min(rates), max(rates)) and len(rates) > 1
        remark = ' (chosen; none beyond was tried)' if at_end else ' (chosen)'
      rows.append(
        [
          tried['label'],
          f'{float(rate):g}{remark}',
          *(
            comparison_text.score_with_se(scores, name)
            for name in score_rows.SCORES
          ),
        ]
      )
  return result_table.Table(
    'Learning rates',
    f'One round of seed {results["seeds"][0]}, measured on scenes of the '
    'preference split drawn anew, as the inputs are: the highest sum of '
    'understanding and generation is taken.',
    ['arm', 'rate', *score_rows.SCORES],
    rows,
  )


def budget_table(models: list[dict]) -> result_table.Table:
  """Returns how many pairs, steps and seconds each model learned from."""
  rows = [
    [
      model['label'],
      f'{model["rate"]:g}',
      *(
        comparison_text.mean(model[name])
        for name in ('pairs', 'steps', 'seconds')
      ),
    ]
    for model in models
    if model['round']
  ]
  return result_table.Table(
    'Budgets',
    'Means over seeds, of each round alone. Seconds are of learning.',
    ['model', 'rate', 'inputs with pairs', 'steps', 'seconds'],
    rows,
  )


def scorer_table(results: dict) -> result_table.Table:
  """Compares image scorers: pairs of images, and agreement with the judge.

  It has no rows if all arms have the same scorer.
  """
  columns = {
    'correlation': 'correlation',
    'concordance': 'order',
    'judge_agrees': 'agrees',
    'judge_disagrees': 'disagrees',
  }
  arms = results.get('config', {}).get('arms', ())
  compared = {arm['name'] for arm in arms if 'image_scorer' in arm['changes']}
  models = [m for m in results['models'] if m['round']] if compared else []
  drops = [
    reason
    for reason in _IMAGE_DROPS
    if any(reason in _image_drops(c) for m in models for c in m['curation'])
  ]
  rows = [
    [
      model['label'],
      *(
        comparison_text.mean(
          [_image_drops(c).get(reason, 0) for c in model['curation']]
        )
        for reason in drops
      ),
      *(
        comparison_text.mean([c.get(name) for c in model['curation']], 3)
        for name in columns
      ),
    ]
    for model in models
  ]
  return result_table.Table(
    'Scorers of images',
    'Inputs by what became of their pair of images; the correlation of the '
    'scores with the judge’s among images of one caption; the share of two '
    'images of one caption that both order alike, of those that the judge '
    'scores differently, where a tie counts half; and how often the judge '
    'agrees and disagrees with a kept pair.',
    ['arm', *drops, *columns.values()],
    rows,
  )


_IMAGE_DROPS = (
  'kept',
  'no difference',
  'winner too weak',
  'difference too small',
  'same content',
)


def _image_drops(curation) -> dict[str, int]:
  return curation['drops']['image']


def judge_table(results: dict) -> result_table.Table:
  """Compares each model's scores for its own images with the judge's."""
  columns = {
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
      model['label'],
      *(
        comparison_text.mean([c.get(name) for c in model['curation']], 3)
        for name in columns
      ),
    ]
    for model in results['models']
    if model['round'] and model['arm'] in results['rounds_of']
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
    ['round', *columns.values()],
    rows,
  )


def baseline_table(results: dict) -> result_table.Table:
  """Returns the scores that are reached without seeing the right image."""
  rows = [
    [
      label,
      image,
      *(
        comparison_text.score_with_se(scores, name)
        for name in ('understanding', 'judge')
      ),
    ]
    for label, images in results['floors'].items()
    for image, scores in images.items()
  ]
  return result_table.Table(
    'What is known without the image',
    'The same questions about the real '
    'image, another scene’s, and an empty one: by the model (understanding) '
    'and by the judge, for whom the real image is the most that a generated '
    f'one can reach. Seed {results["seeds"][0]}.',
    ['model', 'image', 'understanding', 'judge'],
    rows,
  )
