"""Sections of the report about what the rounds scored.

A row is one entry of `rounds` in results.json.
"""

from collections.abc import Sequence
import math

from hermesflow_jax.reports import bar_charts
from hermesflow_jax.reports import charts
from hermesflow_jax.reports import markup

SCORES = ('understanding', 'generation', 'gap')
TAGS = (
  'single_object',
  'two_object',
  'counting',
  'colors',
  'position',
  'color_attr',
)


def readable_name(name: str) -> str:
  """Returns an identifier as text: 'two_object' is 'two object'."""
  return str(name).replace('_', ' ')


def paired_change(base: dict, last: dict, name: str) -> tuple[float, float]:
  """Returns how a score changed, with its standard error.

  Taken from `last['change']` (paired over scenes) if it is there; else the
  two errors are combined as if the rounds were independent.
  """
  paired = last.get('change') or {}
  if name in paired:
    return (
      markup.number(paired[name]),
      markup.number(paired.get(f'{name}_se')),
    )
  value = markup.number(last.get(name)) - markup.number(base.get(name))
  error = math.hypot(
    markup.number(last.get(f'{name}_se')), markup.number(base.get(f'{name}_se'))
  )
  return value, error


def verdict(value: float, error: float) -> str:
  """Returns 'rose', 'fell' or 'same' by two standard errors, or 'unknown'."""
  if not math.isfinite(value) or not math.isfinite(error):
    return 'unknown'
  if abs(value) <= 2 * error:
    return 'same'
  return 'rose' if value > 0 else 'fell'


def _rounds(count):
  return f'{count} round' + 's' * (count != 1)


def unseen_rows(rows: Sequence[dict]) -> list[dict]:
  """Returns rows of the scores on captions that no input has; [] for none."""
  return [
    {**row['unseen'], 'round': row.get('round')}
    for row in rows
    if isinstance(row.get('unseen'), dict)
  ]


def known_captions_sentence(rows: Sequence[dict]) -> str:
  """Returns how many held-out captions inputs have; '' where it is unknown."""
  known = rows[0].get('captions_also_of_inputs') if rows else None
  if known is None:
    return ''
  return (
    f'Of the captions of {markup.whole(rows[0].get("scenes"))} held-out '
    f'scenes {markup.whole(known)} are captions of inputs, too (0 is best).'
  )


def _how(rows):
  """How the gap moved from the first row to the last."""
  return {
    'fell': 'shrank',
    'rose': 'grew',
    'same': 'did not change beyond two standard errors: it went',
    'unknown': 'went',
  }[verdict(*paired_change(rows[0], rows[-1], 'gap'))]


def unseen_sentence(rows: Sequence[dict]) -> str:
  """Returns the sentences on captions that no input has; '' for none.

  Args:
    rows: of `unseen_rows`.
  """
  if not rows:
    return ''
  base, last = rows[0], rows[-1]
  where = (
    f'On {markup.whole(base.get("scenes"))} scenes whose captions no input has'
  )
  if len(rows) == 1:
    return f'{where} the gap is {markup.decimal(base.get("gap"))}.'
  return (
    f'{where} the gap {_how(rows)} from {markup.decimal(base.get("gap"))} to '
    f'{markup.decimal(last.get("gap"))}. {_moves(base, last)}'
  )


def lead_sentence(rows: Sequence[dict]) -> str:
  """Returns the one sentence of the run."""
  if not rows:
    return 'Nothing has been measured yet.'
  base, last = rows[0], rows[-1]
  if len(rows) == 1:
    return (
      'The base model has a gap of '
      f'{markup.decimal(base.get("gap"))} between understanding and '
      'generation; no round of self-play has finished.'
    )
  return (
    f'The gap between understanding and generation {_how(rows)} from '
    f'{markup.decimal(base.get("gap"))} to '
    f'{markup.decimal(last.get("gap"))} in {_rounds(len(rows) - 1)}.'
  )


def explanation(rows: Sequence[dict]) -> str:
  """Returns what the change of the gap is made of; '' without a round."""
  if len(rows) < 2:
    return ''
  base, last = rows[0], rows[-1]
  moved = {name: verdict(*paired_change(base, last, name)) for name in SCORES}
  out = [_moves(base, last)]
  before, after = markup.number(base.get('gap')), markup.number(last.get('gap'))
  if min(before, after) > 0 and math.isfinite(before + after):
    out.append(f'The last gap is {after / before:.0%} of the base model’s.')
  elif before > 0 and after <= 0:
    out.append('Generation now scores no lower than understanding.')
  if moved['gap'] == 'fell' and moved['generation'] != 'rose':
    out.append(
      'The gap is smaller although generation is not measurably better.'
    )
  if moved['understanding'] == 'fell':
    out.append('Some understanding was lost.')
  out.append(
    'Errors are standard errors over scenes, '
    + (
      'paired scene by scene.'
      if last.get('change')
      else 'combined as if the two evaluations were independent.'
    )
  )
  return ' '.join(out)


def _moves(base, last):
  """A sentence on how generation and understanding moved."""
  clauses = []
  for name in ('generation', 'understanding'):
    value, error = paired_change(base, last, name)
    by = f'{markup.decimal(abs(value))} ± {markup.decimal(error)}'
    clauses.append(
      {
        'rose': f'{name} rose by {by}',
        'fell': f'{name} fell by {by}',
        'same': f'{name} is unchanged within two standard errors '
        f'({markup.decimal(value, signed=True)} ± '
        f'{markup.decimal(error)})',
        'unknown': f'the change of {name} is unknown',
      }[verdict(value, error)]
    )
  text = f'{clauses[0]}, {clauses[1]}.'
  return text[0].upper() + text[1:]


def score_tiles(rows: Sequence[dict]) -> markup.Markup:
  """Returns the three scores, base and last."""
  if not rows:
    return markup.Markup('')
  base, last = rows[0], rows[-1]
  out = []
  for name in SCORES:
    value = markup.decimal(base.get(name))
    under = 'base model'
    if len(rows) > 1:
      under = markup.join(
        [
          'change ',
          markup.measured(*paired_change(base, last, name), signed=True),
        ]
      )
      value = markup.join(
        [markup.element('i', value + ' → '), markup.decimal(last.get(name))]
      )
    out.append(
      markup.element(
        'div',
        markup.element('span', name.capitalize(), class_='what'),
        markup.element('b', value),
        markup.element('span', under),
        class_='tile',
      )
    )
  return markup.element('div', markup.join(out), class_='tiles')


def score_table(rows: Sequence[dict], control: Sequence[dict]) -> markup.Markup:
  """Returns the headline table; controls under the rounds."""
  cells = []
  for row in (*rows, *control):
    name = row.get('name') or (
      'base' if row.get('round') == 0 else f'round {row.get("round")}'
    )
    cells.append(
      [name]
      + [
        markup.measured(row.get(k), row.get(f'{k}_se'))
        for k in (*SCORES, 'caption_similarity')
      ]
      + [markup.whole(row.get('scenes'))]
    )
  header = [
    'Round',
    'Understanding',
    'Generation',
    'Gap',
    'Caption similarity',
    'Scenes',
  ]
  return markup.table(header, cells)


def tag_table(rows: Sequence[dict]) -> markup.Markup:
  """Returns the scores of each kind of caption, base and last.

  Returns:
    A table; '' where the captions have no kinds.
  """
  base, last = (row.get('by_tag') or {} for row in (rows[0], rows[-1]))
  tags = [tag for tag in TAGS if tag in base]
  tags += sorted(set(base) - set(tags))
  if not tags:
    return markup.Markup('')
  cells = []
  for tag in tags:
    sides = base[tag], last.get(tag, {})
    share = markup.number(base[tag].get('share'))
    cells.append(
      [
        readable_name(tag),
        markup.whole(base[tag].get('scenes')),
        f'{share:.0%}' if math.isfinite(share) else markup.NOTHING,
        *(markup.decimal(side.get(name)) for name in SCORES for side in sides),
      ]
    )
  header = ['Kind', 'Scenes', 'Share'] + [
    f'{name.capitalize()}, {side}'
    for name in SCORES
    for side in ('base', _last(rows))
  ]
  return markup.table(header, cells)


def _points(rows, name):
  return [(r.get('round'), r.get(name), r.get(f'{name}_se')) for r in rows]


def round_plots(rows: Sequence[dict], control: Sequence[dict]) -> markup.Markup:
  """Returns the scores and the gap over rounds."""
  both = charts.lines(
    [
      charts.Series(
        'understanding', _points(rows, 'understanding'), 'und', markers=True
      ),
      charts.Series(
        'generation', _points(rows, 'generation'), 'gen', markers=True
      ),
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
    mine = [r for r in control if r.get('name', 'control') == name]
    if rows and mine[0].get('round') != rows[0].get('round'):
      mine = [rows[0], *mine]
    series.append(
      charts.Series(
        name, _points(mine, 'gap'), 'plain', dashed=True, markers=True
      )
    )
  gaps = charts.lines(
    series,
    description='The gap over rounds',
    x_label='round',
    zero=True,
    whole_x=True,
  )
  return pair(
    figure(
      'Understanding and generation',
      both,
      'Share of questions answered right about real images '
      '(understanding, by the model) and about generated ones '
      '(generation, by the judge). The shaded band is the gap; bars '
      'are one standard error each way.',
    ),
    figure(
      'Gap',
      gaps,
      'Understanding minus generation, smaller is better, with '
      'standard errors paired over scenes.'
      + (' Dashed: the controls.' if control else ''),
    ),
  )


def pair(*figures_: markup.Markup) -> markup.Markup:
  """Returns figures side by side where there is room."""
  return markup.element('div', markup.join(figures_), class_='pair')


def figure(
  title: str, drawing: markup.Markup, caption: str, kind: str | None = None
) -> markup.Markup:
  """Returns a chart with its title, and its caption if there is one."""
  said = [markup.element('figcaption', caption)] if caption else []
  return markup.element(
    'figure', markup.element('h3', title), drawing, *said, class_=kind
  )


def type_bars(rows: Sequence[dict]) -> markup.Markup:
  """Returns bars of each element type, base and last."""
  base, last = rows[0].get('by_type') or {}, rows[-1].get('by_type') or {}
  kinds = list(dict.fromkeys([*base, *last]))
  out = []
  for name, style, said in (
    ('understanding', 'und', 'about real images, answered by the model.'),
    ('generation', 'gen', 'about generated images, answered by the judge.'),
  ):
    groups = []
    for kind in kinds:
      questions = (last.get(kind) or base.get(kind)).get('questions')
      groups.append(
        (
          f'{readable_name(kind)} ({markup.whole(questions)} questions)',
          [side.get(kind, {}).get(name) for side in (base, last)],
        )
      )
    names = [('base model', f'{style} pale'), (_last(rows), style)]
    out.append(
      figure(
        name.capitalize(),
        bar_charts.bars(groups, names, description=f'{name} by element type'),
        f'Share of right answers by element type, {said}',
        'bars',
      )
    )
  return pair(*out)


def _last(rows):
  return f'round {rows[-1].get("round")}'


def geneval_bars(rows: Sequence[dict]) -> markup.Markup:
  """Returns the six scores in the manner of GenEval, base and last."""
  base, last = rows[0].get('geneval') or {}, rows[-1].get('geneval') or {}
  tags = [t for t in TAGS if t in base or t in last]
  tags += sorted((set(base) | set(last)) - set(tags))
  if not tags:
    return markup.element('p', 'Nothing was measured.', class_='empty')

  def line(name, before, after):
    return [
      name,
      markup.decimal(before),
      markup.decimal(after),
      markup.decimal(markup.number(after) - markup.number(before), signed=True),
    ]

  def mean(side):
    values = [markup.number(side.get(t)) for t in tags]
    return sum(values) / len(values)

  cells = [line(readable_name(t), base.get(t), last.get(t)) for t in tags]
  cells.append(line('mean', mean(base), mean(last)))
  return markup.table(
    ['Task', 'Base model', _last(rows).capitalize(), 'Change'], cells
  )
