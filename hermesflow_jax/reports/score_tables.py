"""Tables of scores: by round, by task, by kind of caption.

`rows` are the `rounds` in `results.json`; the first is the base model.
"""

from collections.abc import Sequence
import dataclasses

from hermesflow_jax.reports import html_page
from hermesflow_jax.reports import number_text
from hermesflow_jax.reports import score_rows


@dataclasses.dataclass(frozen=True)
class Tile:
  """A score in large type.

  Attributes:
    name: the score.
    base: base-model score.
    last: score after the last round; '' without a round.
    change: `last` - `base` with its standard error; '' without a round.
  """

  name: str
  base: str
  last: str = ''
  change: str = ''


def score_tiles(rows: Sequence[dict]) -> list[Tile]:
  """Returns the three scores before and after; needs a row."""
  base, last = rows[0], rows[-1]
  tiles = []
  for name in score_rows.SCORES:
    tile = Tile(name.capitalize(), number_text.decimal(base.get(name)))
    if len(rows) > 1:
      change = score_rows.paired_change(base, last, name)
      tile = dataclasses.replace(
        tile,
        last=number_text.decimal(last.get(name)),
        change=number_text.with_error(*change, signed=True),
      )
    tiles.append(tile)
  return tiles


def score_table(
  rows: Sequence[dict], control: Sequence[dict] = ()
) -> html_page.TableContent:
  """Tabulates each round, with the controls below."""
  cells = []
  for row in (*rows, *control):
    name = row.get('name') or (
      'base' if row.get('round') == 0 else f'round {row.get("round")}'
    )
    scores = [
      number_text.with_error(row.get(k), row.get(f'{k}_se'))
      for k in (*score_rows.SCORES, 'caption_similarity')
    ]
    cells.append([name, *scores, number_text.whole(row.get('scenes'))])
  header = [
    'Round',
    'Understanding',
    'Generation',
    'Gap',
    'Caption similarity',
    'Scenes',
  ]
  caption = score_rows.judge_caption(rows)
  return html_page.TableContent(header, cells, caption=caption)


def kind_table(rows: Sequence[dict]) -> html_page.TableContent:
  """Tabulates scores by caption kind, before and after; may be empty."""
  base, last = (row.get('by_tag') or {} for row in (rows[0], rows[-1]))
  cells = []
  for tag in score_rows.in_tag_order(base):
    sides = base[tag], last.get(tag, {})
    cells.append(
      [
        score_rows.readable_name(tag),
        number_text.whole(base[tag].get('scenes')),
        number_text.percent(base[tag].get('share')),
        *(
          number_text.decimal(side.get(name))
          for name in score_rows.SCORES
          for side in sides
        ),
      ]
    )
  header = ['Kind', 'Scenes', 'Share'] + [
    f'{name.capitalize()}, {side}'
    for name in score_rows.SCORES
    for side in ('base', score_rows.last_round(rows))
  ]
  caption = score_rows.judge_caption(rows)
  return html_page.TableContent(header, cells, caption=caption)


def task_table(rows: Sequence[dict]) -> html_page.TableContent:
  """Tabulates GenEval's tasks, before and after; may be empty."""
  base, last = (row.get('geneval') or {} for row in (rows[0], rows[-1]))
  tasks = score_rows.in_tag_order({*base, *last})

  def line(name, before, after):
    change = number_text.to_float(after) - number_text.to_float(before)
    return [
      name,
      number_text.decimal(before),
      number_text.decimal(after),
      number_text.decimal(change, signed=True),
    ]

  def mean(scores):
    return sum(number_text.to_float(scores.get(t)) for t in tasks) / len(tasks)

  cells = [
    line(score_rows.readable_name(task), base.get(task), last.get(task))
    for task in tasks
  ]
  if tasks:
    cells.append(line('mean', mean(base), mean(last)))
  return html_page.TableContent(
    ['Task', 'Base model', score_rows.last_round(rows).capitalize(), 'Change'],
    cells,
    caption=score_rows.judge_caption(rows),
  )
