"""What arms of a comparison scored: as Markdown, and as a page.

All of it is told from `results.json` of `jobs.ablation`. A number that
stands, by `evaluation.scenes.Difference`, is followed by a star.
"""

from collections.abc import Sequence
import dataclasses

from hermesflow_jax.evaluation import scenes
from hermesflow_jax.reporting import figures
from hermesflow_jax.reporting import markup
from hermesflow_jax.reporting import pages
from hermesflow_jax.reporting import scores

_STAR = ' *'
_HEADLINE = {
  'understanding': 'understanding',
  'generation': 'generation',
  'gap': 'gap',
  'caption_similarity': 'caption similarity',
  scenes.SIX: scenes.SIX,
}
# What plots show, and how.
_DRAWN = {'understanding': 'und', 'generation': 'gen'}
# Where a model learns to please itself, its own score rises alone.
_PLEASED = {
  'generation': 'generation, by the judge',
  'own_score': 'by the model itself',
  'overrated': 'difference',
}
_SEEN = {scenes.SEEN: 'captions of inputs', scenes.UNSEEN: 'other captions'}


@dataclasses.dataclass(frozen=True)
class Table:
  """Cells of text under a title; the first column names the rows."""

  title: str
  note: str
  header: Sequence[str]
  rows: Sequence[Sequence[str]]

  def markdown(self) -> str:
    """Returns a heading, the note and the table."""

    def line(cells):
      return '| ' + ' | '.join(str(cell) for cell in cells) + ' |'

    lines = [line(self.header), line(['---'] * len(self.header))]
    lines += [line(row) for row in self.rows]
    return f'## {self.title}\n\n{self.note}\n\n' + '\n'.join(lines) + '\n'

  def section(self, *more: markup.Markup) -> markup.Markup:
    """Returns a section of a page, with what comes after the table."""
    return pages.section(
      self.title, self.note, markup.table(self.header, self.rows), *more
    )


def tables(results: dict) -> list[Table]:
  """Returns all tables of a comparison, in the order of the page."""
  models, against = results['models'], results['against']
  tasks = _within(models, 'geneval', scores.TAGS)
  out = [
    *_sweeps(results),
    _levels(
      'Scores',
      'Shares of right answers to the same questions about the '
      'real image (understanding, by the model) and about a generated one '
      '(generation, by the judge); the mean of the six tasks below. '
      f'{_plus(results)}',
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
  out += [_rounds(results), *_search(results)]
  out += [
    _budget(models),
    _judging(results),
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
        _within(models, known, scores.TAGS),
      )
      for known, name in _SEEN.items()
    ),
    _floors(results),
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


def page(results: dict) -> str:
  """Returns the tables and their plots as HTML."""
  models = results['models']
  body = [_head(results)]
  if results['sweeps']:
    body.append(_glance(results))
  for table in tables(results):
    drawn = []
    if table.title == 'Since the base model':
      drawn = [_forest(models, 'base')]
    elif table.title.startswith('Against '):
      drawn = [_forest(models, 'against')]
    elif table.title == _ROUNDS:
      drawn = [
        scores.pair(
          *(
            _round_plot(models, arm)
            for arm in results['rounds_of']
            if _last(models, arm) > 1
          )
        )
      ]
    body.append(table.section(*drawn))
  return pages.page('An ablation of Pair-DPO', *body)


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
      f'{best["label"]} the gap went from {_level(gaps[0])} to '
      f'{_level(gaps[1])}.',
      class_='lead',
    ),
    markup.element('p', _plus(results)),
    markup.element('pre', markup.element('code', results['command'])),
  )


def _plus(results) -> str:
  seeds = ', '.join(str(seed) for seed in results['seeds'])
  return (
    f'Means over seeds {seeds} and {results["scenes"]} scenes '
    f'({results["split"]} split), or as many as a column says in brackets; ± '
    'is one standard error over scenes.'
  )


def _level(found) -> str:
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
    models, {f'{prefix}/{name}': scores.words(name) for name in names}
  )


def _levels(title, note, models, columns) -> Table:
  shown = {k: v for k, v in columns.items() if k in models[0]['scores']}
  rows = [
    [m['label'], *(_level(m['scores'][name]) for name in shown)]
    for m in models
    if shown
  ]
  return Table(title, note, ['model', *shown.values()], rows)


def _changes(title, note, models, since, columns) -> Table:
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
  return Table(title, note, ['model', *shown.values()], rows)


def _forest(models, since):
  drawn = []
  for name, style in _DRAWN.items():
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
      scores.figure(
        name.capitalize(),
        figures.intervals(
          rows, description=f'Change of {name}', x_label='change', style=style
        ),
        'Means over seeds and scenes, bars two standard errors each way. Full '
        'dots stand, as the stars of the table; rings do not.',
      )
    )
  return scores.pair(*drawn)


_ROUNDS = 'Round by round'


def _last(models, arm) -> int:
  """The last round of an arm."""
  return max(m['round'] for m in models if m['arm'] == arm)


def _rounds(results) -> Table:
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
    if m['arm'] == arm and _last(results['models'], arm) > 1
  ]
  return Table(
    _ROUNDS,
    'Changes since the base model, and that of the gap for each '
    f'seed. {_STANDS}',
    [
      'round',
      *_HEADLINE.values(),
      *(f'gap, seed {seed}' for seed in results['seeds']),
    ],
    rows,
  )


def _round_plot(models, arm):
  mine = [m for m in models if m['arm'] in ('', arm)]
  both = figures.lines(
    [
      figures.Series(
        name,
        [
          (m['round'], m['scores'][name]['value'], m['scores'][name]['error'])
          for m in mine
        ],
        style,
        markers=True,
      )
      for name, style in _DRAWN.items()
    ],
    description='Scores by round',
    x_label='round',
    whole_x=True,
    shaded=(0, 1),
  )
  return scores.figure(
    'Understanding and generation',
    both,
    'The shaded band is the gap; bars are one standard error over scenes.',
  )


def _points(results, title) -> list[tuple[dict, dict]]:
  """Returns (point, model) of each point of a sweep."""
  found = {(m['arm'], m['round']): m for m in results['models']}
  return [
    (point, found[point['arm'], point['round']])
    for point in results['sweeps'][title]
  ]


def _sweeps(results) -> list[Table]:
  out = []
  for title in results['sweeps']:
    rows = []
    for point, one in _points(results, title):
      against = point.get('against')
      rows.append(
        [
          _at(point),
          _mean(one['pairs']),
          *(
            _mean([c.get(k) for c in one['curation']], 3)
            for k in ('winners_by_judge', 'losers_by_judge')
          ),
          *(_level(one['scores'][k]) for k in _DRAWN),
          *(_change(against[k]) if against else '–' for k in scores.SCORES),
        ]
      )
    out.append(
      Table(
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
          *_DRAWN,
          *(f'Δ {name}' for name in scores.SCORES),
        ],
        rows,
      )
    )
  return out


def _at(point) -> str:
  """Names a point, with its round where that is not the first."""
  named = point['round'] == 1 or point['at'] == str(point['round'])
  return point['at'] + ('' if named else f', round {point["round"]}')


def _glance(results) -> markup.Markup:
  """Returns a section with the plots of all sweeps."""
  return pages.section(
    'Sensitivities',
    'What understanding and generation changed by since the '
    'base model, as one setting after the other is changed. Bars are one '
    'standard error each way, over scenes and seeds; models share scenes and '
    'seeds, so the tables below tell them apart better.',
    scores.pair(*(_sweep_plot(results, title) for title in results['sweeps'])),
  )


def _sweep_plot(results, title):
  points, arms = zip(*_points(results, title))
  ordered = all(_is_number(point['at']) for point in points)
  series = [
    figures.Series(
      name,
      [
        (n, one['base'][name]['value'], one['base'][name]['error'])
        for n, one in enumerate(arms)
      ],
      style,
      markers=True,
      joined=ordered,
    )
    for name, style in _DRAWN.items()
  ]
  drawing = figures.lines(
    series,
    description=f'Changes by {title}',
    x_label='',
    zero=True,
    whole_x=True,
    x_names=[_at(point) for point in points],
  )
  return scores.figure(title.capitalize(), drawing, '')


def _is_number(text) -> bool:
  try:
    float(text)
  except ValueError:
    return False
  return True


def _search(results) -> list[Table]:
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
    Table(
      'Learning rates',
      note,
      ['arm', 'rate', 'understanding', 'generation', 'gap'],
      rows,
    )
  ]


def _mean(values, digits=0) -> str:
  found = [v for v in values if v is not None]
  return markup.decimal(sum(found) / len(found), digits) if found else '–'


def _budget(models) -> Table:
  rows = [
    [
      m['label'],
      f'{m["rate"]:g}',
      _mean(m['pairs']),
      _mean(m['steps']),
      _mean(m['seconds']),
    ]
    for m in models
    if m['round']
  ]
  return Table(
    'Budgets',
    'Means over seeds, of each round alone. Seconds are of learning.',
    ['model', 'rate', 'inputs with pairs', 'steps', 'seconds'],
    rows,
  )


def _judging(results) -> Table:
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
      *(_mean([c.get(name) for c in m['curation']], 3) for name in names),
    ]
    for m in results['models']
    if m['round'] and m['arm'] in results['rounds_of']
  ]
  return Table(
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


def _floors(results) -> Table:
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
  return Table(
    'What is known without the image',
    'The same questions about the real '
    'image, another scene’s, and an empty one: by the model (understanding) '
    'and by the judge, for whom the real image is the most that a generated '
    f'one can reach. Seed {results["seeds"][0]}.',
    ['model', 'image', 'understanding', 'judge'],
    rows,
  )
