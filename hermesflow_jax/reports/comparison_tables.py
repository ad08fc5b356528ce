"""Tables of a comparison of arms."""

from hermesflow_jax.evaluation import scene_statistics
from hermesflow_jax.reports import comparison_context
from hermesflow_jax.reports import markup
from hermesflow_jax.reports import result_table
from hermesflow_jax.reports import score_sections

_STAR = ' *'


_HEADLINE = {
  'understanding': 'understanding',
  'generation': 'generation',
  'gap': 'gap',
  'caption_similarity': 'caption similarity',
  scene_statistics.SIX: scene_statistics.SIX,
}


# What plots show, and how.
DRAWN = {'understanding': 'und', 'generation': 'gen'}


# Where a model learns to please itself, its own score rises alone.
_PLEASED = {
  'generation': 'generation, by the judge',
  'own_score': 'by the model itself',
  'overrated': 'difference',
}


_SEEN = {
  scene_statistics.SEEN: 'captions of inputs',
  scene_statistics.UNSEEN: 'other captions',
}


def tables(results: dict) -> list[result_table.Table]:
  """Returns all tables of a comparison, in the order of the page."""
  models, against = results['models'], results['against']
  tasks = _within(models, 'geneval', score_sections.TAGS)
  out = [
    *_sweeps(results),
    _levels(
      'Scores',
      'Shares of right answers to the same questions about the '
      'real image (understanding, by the model) and about a generated one '
      '(generation, by the judge); the mean of the six tasks below. '
      f'{plus(results)}',
      models,
      _HEADLINE,
    ),
    _changes(
      'Since the base model',
      'Differences scene by scene. ' + _STANDS,
      models,
      'base',
      _HEADLINE,
    ),
    _changes(
      f'Against {against}',
      'Of the same seeds, scene by scene: what the '
      'row scores above it after as many rounds, and its own later rounds '
      'above its first. What each learned from is under Budgets. ' + _STANDS,
      models,
      'against',
      _HEADLINE,
    ),
    _levels(
      'Six tasks in the manner of GenEval',
      'Share of generated images with every question right, by the judge.',
      models,
      tasks,
    ),
    _changes(
      'Six tasks since the base model',
      'Differences scene by scene. ' + _STANDS,
      models,
      'base',
      tasks,
    ),
    _levels(
      'Understanding by type',
      'Share of right answers of each scene that '
      'has such questions, about the real image.',
      models,
      _within(models, 'understanding'),
    ),
    _levels(
      'Generation by type',
      'The same about the generated image.',
      models,
      _within(models, 'generation'),
    ),
  ]
  out += [_rounds(results), *comparison_context.search(results)]
  out += [
    comparison_context.budget(models),
    comparison_context.judging(results),
    _levels(
      'Scores of its own images',
      'The image of each held-out caption, '
      'judged by the model that drew it as the judge does. A model that '
      'learned to please itself finds them better than they are.',
      models,
      _PLEASED,
    ),
    _changes(
      'Scores of its own images, since the base model',
      'Differences scene by scene. ' + _STANDS,
      models,
      'base',
      _PLEASED,
    ),
    _levels(
      _CAPTIONS,
      'Generation of held-out scenes whose caption an input of '
      'some round has, too, whether it made a pair or not, and of the '
      'others. Captions are short: the pictures are others in any case.',
      models,
      _counted(models, _SEEN),
    ),
    _changes(
      f'{_CAPTIONS}, since the base model',
      'Differences scene by scene. ' + _STANDS,
      models,
      'base',
      _counted(models, _SEEN),
    ),
    *(
      _changes(
        f'{name.capitalize()}, by task',
        'Differences of generation since the base model. ' + _STANDS,
        models,
        'base',
        _within(models, known, score_sections.TAGS),
      )
      for known, name in _SEEN.items()
    ),
    comparison_context.floors(results),
  ]
  return [table for table in out if table.rows]


_STANDS = (
  'A star: beyond chance by a t-test at 5%, with the error over scenes and '
  'over seeds together and their degrees of freedom, and of one sign in all '
  'seeds. Of fifteen numbers that are nothing one may still have a star.'
)


_CAPTIONS = 'Captions of inputs and others'


def markdown(results: dict) -> str:
  """Returns all tables as Markdown."""
  return '\n'.join(table.markdown() for table in tables(results))


def plus(results) -> str:
  seeds = ', '.join(str(seed) for seed in results['seeds'])
  return (
    f'Means over seeds {seeds} and {results["scenes"]} scenes '
    f'({results["split"]} split), or as many as a column says in brackets; ± '
    'is one standard error over scenes.'
  )


def level(found) -> str:
  return f'{markup.decimal(found["value"])} ± {markup.decimal(found["error"])}'


def _change(found) -> str:
  return (
    f'{markup.decimal(found["value"], signed=True)} ± '
    f'{markup.decimal(found["error"])}' + _STAR * found['stands']
  )


def _counted(models, columns):
  """Returns {score: column}, the columns with the number of their scenes."""
  scores_ = models[0]['scores']
  return {
    # Results of earlier versions do not say how many.
    name: column
    + (f' ({scores_[name]["scenes"]})' if 'scenes' in scores_[name] else '')
    for name, column in columns.items()
    if name in scores_
  }


def _within(models, prefix, order=()):
  """Returns {score: column} of the scores with a prefix."""
  names = [
    name.removeprefix(f'{prefix}/')
    for name in models[0]['scores']
    if name.startswith(f'{prefix}/')
  ]
  names = [n for n in order if n in names] + sorted(set(names) - set(order))
  return _counted(
    models,
    {f'{prefix}/{name}': score_sections.readable_name(name) for name in names},
  )


def _levels(title, note, models, columns) -> result_table.Table:
  shown = {k: v for k, v in columns.items() if k in models[0]['scores']}
  rows = [
    [m['label'], *(level(m['scores'][name]) for name in shown)]
    for m in models
    if shown
  ]
  return result_table.Table(title, note, ['model', *shown.values()], rows)


def _changes(title, note, models, since, columns) -> result_table.Table:
  shown = {
    k: v
    for k, v in columns.items()
    if any(k in m.get(since, {}) for m in models)
  }
  rows = [
    [m['label'], *(_change(m[since][name]) for name in shown)]
    for m in models
    if m.get(since)
  ]
  return result_table.Table(title, note, ['model', *shown.values()], rows)


ROUNDS = 'Round by round'


def last(models, arm) -> int:
  """The last round of an arm."""
  return max(m['round'] for m in models if m['arm'] == arm)


def _rounds(results) -> result_table.Table:
  rows = [
    [
      m['label'],
      *(
        _change(m['base'][name]) if name in m['base'] else '–'
        for name in _HEADLINE
      ),
      *(
        f'{markup.decimal(each, signed=True)}'
        for each in m['base']['gap']['runs']
      ),
    ]
    for arm in results['rounds_of']
    for m in results['models']
    if m['arm'] == arm and last(results['models'], arm) > 1
  ]
  return result_table.Table(
    ROUNDS,
    'Changes since the base model, and that of the gap for each '
    f'seed. {_STANDS}',
    [
      'round',
      *_HEADLINE.values(),
      *(f'gap, seed {seed}' for seed in results['seeds']),
    ],
    rows,
  )


def points(results, title) -> list[tuple[dict, dict]]:
  """Returns (point, model) of each point of a sweep."""
  found = {(m['arm'], m['round']): m for m in results['models']}
  return [
    (point, found[point['arm'], point['round']])
    for point in results['sweeps'][title]
  ]


def _sweeps(results) -> list[result_table.Table]:
  out = []
  for title in results['sweeps']:
    rows = []
    for point, one in points(results, title):
      against = point.get('against')
      rows.append(
        [
          at(point),
          comparison_context.mean(one['pairs']),
          *(
            comparison_context.mean([c.get(k) for c in one['curation']], 3)
            for k in ('winners_by_judge', 'losers_by_judge')
          ),
          *(level(one['scores'][k]) for k in DRAWN),
          *(
            _change(against[k]) if against else '–'
            for k in score_sections.SCORES
          ),
        ]
      )
    out.append(
      result_table.Table(
        title.capitalize(),
        'Inputs with pairs, and the judge’s scores of '
        'winners and losers of all pairs of images; scores; changes against '
        'the row without any. '
        + (_STANDS if not out else 'A star, as above, marks what stands.'),
        [
          '',
          'pairs',
          'winners',
          'losers',
          *DRAWN,
          *(f'Δ {name}' for name in score_sections.SCORES),
        ],
        rows,
      )
    )
  return out


def at(point) -> str:
  """Names a point, with its round where that is not the first."""
  named = point['round'] == 1 or point['at'] == str(point['round'])
  return point['at'] + ('' if named else f', round {point["round"]}')
