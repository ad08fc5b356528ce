"""All tables that compare arms, in page order."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

from hermesflow_jax.evaluation import scene_statistics
from hermesflow_jax.reports import comparison_context
from hermesflow_jax.reports import comparison_sweeps
from hermesflow_jax.reports import comparison_text
from hermesflow_jax.reports import result_table
from hermesflow_jax.reports import score_rows

BASE_TITLE = 'Since the base model'
_PAIRED_NOTE = (
  f'Differences scene by scene. {comparison_text.SIGNIFICANCE_NOTE}'
)
_CAPTIONS_TITLE = 'Captions of inputs and others'

# A model that learns to please itself raises only its own score.
_OWN_SCORES = {
  'generation': 'generation, by the judge',
  'own_score': 'by the model itself',
  'overrated': 'difference',
}
_CAPTION_SETS = {
  scene_statistics.SEEN: 'captions of inputs',
  scene_statistics.UNSEEN: 'other captions',
}


def markdown(results: dict) -> str:
  """Returns all tables as Markdown."""
  return '\n'.join(table.markdown() for table in tables(results))


def tables(results: dict) -> list[result_table.Table]:
  """Returns all tables that have rows, in page order.

  Args:
    results: content of the ablation job's `results.json`.
  """
  models = results['models']
  ordered = [
    *comparison_sweeps.sweep_tables(results),
    *_headline_tables(results),
    *_searched_tables(results),
    *_type_tables(models),
    comparison_sweeps.round_table(results),
    comparison_context.search_table(results),
    comparison_context.budget_table(models),
    comparison_context.scorer_table(results),
    comparison_context.judge_table(results),
    *_own_score_tables(models),
    *_caption_tables(models),
    comparison_context.baseline_table(results),
  ]
  return [table for table in ordered if table.rows]


def _headline_tables(results) -> list[result_table.Table]:
  models = results['models']
  return [
    _score_table(
      'Scores',
      'Shares of right answers to the same questions about the '
      'real image (understanding, by the model) and about a generated one '
      '(generation, by the judge); the mean of the six tasks below. '
      f'{comparison_text.means_note(results)}',
      models,
      comparison_sweeps.HEADLINE,
    ),
    _change_table(
      BASE_TITLE, _PAIRED_NOTE, models, 'base', comparison_sweeps.HEADLINE
    ),
    _change_table(
      f'Against {results["against"]}',
      'Of the same seeds, scene by scene: what the '
      'row scores above it after as many rounds, and its own later rounds '
      'above its first. What each learned from is under Budgets. '
      f'{comparison_text.SIGNIFICANCE_NOTE}',
      models,
      'against',
      comparison_sweeps.HEADLINE,
    ),
  ]


def _searched_tables(results) -> list[result_table.Table]:
  rows = results.get('searched', [])
  if not rows:
    return []
  columns = comparison_sweeps.HEADLINE | {
    name: name.removeprefix('geneval/').replace('_', ' ')
    for name in ('geneval/color_attr', 'geneval/position')
  }
  passes = {
    row['label']: sum(row['passes']) / len(row['passes'])
    for row in rows
    if None not in row['passes']
  }
  costs = ', '.join(f'{name} {cost:.0f}' for name, cost in passes.items())
  return [
    _score_table(
      'With search',
      "The best of several images by the model's own scores, after the last "
      f'round. Passes of the decoder per image: {costs}.',
      rows,
      columns,
    ),
    _change_table(
      'With search, since the base model with search',
      _PAIRED_NOTE,
      rows,
      'base',
      columns,
    ),
  ]


def _type_tables(models) -> list[result_table.Table]:
  tasks = _columns_within(models, 'geneval', score_rows.TAGS)
  return [
    _score_table(
      'Six tasks in the manner of GenEval',
      'Share of generated images with every question right, by the judge.',
      models,
      tasks,
    ),
    _change_table(
      'Six tasks since the base model', _PAIRED_NOTE, models, 'base', tasks
    ),
    _score_table(
      'Understanding by type',
      'Share of right answers of each scene that '
      'has such questions, about the real image.',
      models,
      _columns_within(models, 'understanding'),
    ),
    _score_table(
      'Generation by type',
      'The same about the generated image.',
      models,
      _columns_within(models, 'generation'),
    ),
  ]


def _own_score_tables(models) -> list[result_table.Table]:
  return [
    _score_table(
      'Scores of its own images',
      'The image of each held-out caption, '
      'judged by the model that drew it as the judge does. A model that '
      'learned to please itself finds them better than they are.',
      models,
      _OWN_SCORES,
    ),
    _change_table(
      'Scores of its own images, since the base model',
      _PAIRED_NOTE,
      models,
      'base',
      _OWN_SCORES,
    ),
  ]


def _caption_tables(models) -> list[result_table.Table]:
  columns = _with_scenes(models, _CAPTION_SETS)
  return [
    _score_table(
      _CAPTIONS_TITLE,
      'Generation of held-out scenes whose caption an input of '
      'some round has, too, whether it made a pair or not, and of the '
      'others. Captions are short: the pictures are others in any case.',
      models,
      columns,
    ),
    _change_table(
      f'{_CAPTIONS_TITLE}, since the base model',
      _PAIRED_NOTE,
      models,
      'base',
      columns,
    ),
    *(
      _change_table(
        f'{name.capitalize()}, by task',
        'Differences of generation since the base model. '
        f'{comparison_text.SIGNIFICANCE_NOTE}',
        models,
        'base',
        _columns_within(models, captions, score_rows.TAGS),
      )
      for captions, name in _CAPTION_SETS.items()
    ),
  ]


def _with_scenes(
  models: Sequence[dict], columns: Mapping[str, str]
) -> dict[str, str]:
  """Keeps the columns with known scores and adds their scene counts."""
  scores = models[0]['scores']
  return {
    # Results of earlier versions have no scene counts.
    name: column
    + (f' ({scores[name]["scenes"]})' if 'scenes' in scores[name] else '')
    for name, column in columns.items()
    if name in scores
  }


def _columns_within(
  models: Sequence[dict], prefix: str, order: Iterable[str] = ()
) -> dict[str, str]:
  """Returns {score: column} for all scores '<prefix>/...', in this order."""
  names = [
    score.removeprefix(f'{prefix}/')
    for score in models[0]['scores']
    if score.startswith(f'{prefix}/')
  ]
  names = [n for n in order if n in names] + sorted(set(names) - set(order))
  return _with_scenes(
    models,
    {f'{prefix}/{name}': score_rows.readable_name(name) for name in names},
  )


def _score_table(title, note, models, columns) -> result_table.Table:
  """Returns all models' scores.

  Args:
    title: heading.
    note: sentences under the heading.
    models: `results['models']`.
    columns: {score: column}; unknown scores are left out.
  """
  known = {k: v for k, v in columns.items() if k in models[0]['scores']}
  rows = [
    [m['label'], *(comparison_text.score(m['scores'][name]) for name in known)]
    for m in models
    if known
  ]
  return result_table.Table(title, note, ['model', *known.values()], rows)


def _change_table(title, note, models, since, columns) -> result_table.Table:
  """Returns all models' changes.

  Args:
    title: heading.
    note: sentences under the heading.
    models: `results['models']`.
    since: 'base' or 'against', the model that changes are relative to.
    columns: {score: column}; unknown scores are left out.
  """
  known = {
    k: v
    for k, v in columns.items()
    if any(k in m.get(since, {}) for m in models)
  }
  rows = [
    [m['label'], *(comparison_text.change(m[since][name]) for name in known)]
    for m in models
    if m.get(since)
  ]
  return result_table.Table(title, note, ['model', *known.values()], rows)
