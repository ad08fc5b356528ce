"""DPG-Bench: long prompts, and questions that need others (arXiv 2403.05135).

The official scorer asks mPLUG-large about a grid of four images of each prompt.
We write these grids, ask the judge the same questions by the same rule, and
read the results that the official script writes.
"""

import csv
import io
import json
import re

from hermesflow_jax.benchmarks import benchmark_files
from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.data import input_faults
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import text_files

_COUNT = 4
_COLUMNS = (
  'item_id',
  'text',
  'proposition_id',
  'dependency',
  'question_natural_language',
)
_NUMBER = re.compile(r'-?\d+(?:\.\d+)?(?:e-?\d+)?')


class DpgBench(protocol.DrawingBenchmark):
  """DPG-Bench; the headline is the score in percent."""

  name = 'dpg'
  title = 'DPG-Bench'
  protocol = (
    'Four images a prompt; a question counts if its answer is yes and its '
    'parents count; mean over questions, images and prompts, in percent; '
    'official: mPLUG-large, judge: the judge of this run.'
  )

  def read(self, files):
    """Reads the table of prompts and questions.

    Args:
      files: `path` is `dpg_bench.csv`, or a folder with it.

    Raises:
      ValueError: see the protocol.
    """
    path = storage.path(files.path)
    if path.is_dir():
      path = path / 'dpg_bench.csv'
    table = csv.DictReader(io.StringIO(text_files.read(path), newline=''))
    absent = [c for c in _COLUMNS if c not in (table.fieldnames or ())]
    if absent:
      raise ValueError(
        f'{path} must be dpg_bench.csv, got no column {", ".join(absent)}'
      )
    items, faults = {}, []
    for number, cells in enumerate(table, 1):
      try:
        question = _question(cells)
      except ValueError as error:
        faults.append(f'row {number}: {error}')
        continue
      item = items.setdefault(cells['item_id'], {'text': cells['text']})
      item.setdefault('questions', []).append(question)
    rows = [_prompt(name, item, faults) for name, item in items.items()]
    rows = [row for row in rows if row]
    return benchmark_files.checked_rows(rows, 'official', faults, files, path)

  def score(self, rows, answers):
    """See the protocol: the official rule on the answers of a judge."""
    values, categories = {}, {}
    for row in rows:
      scores = [
        _image_score(row.questions, answers[file])
        for file in row.files
        if answers.get(file)
      ]
      if not scores:
        continue
      values[row.id] = 100 * sum(s for s, _ in scores) / len(scores)
      # The script keeps the answers about the last image, before the rule.
      for question in row.questions:
        kind = str(question['category']).partition(' - ')[0].strip()
        categories.setdefault(kind, []).append(scores[-1][1][question['id']])
    if not values:
      return []
    headline = sum(values.values()) / len(values)
    return [
      protocol.Scores(
        'judge',
        headline,
        '%',
        {'DPG': headline}
        | {k: 100 * sum(v) / len(v) for k, v in sorted(categories.items())},
        values,
        (
          'not mPLUG, the official judge',
          'all rows of the table; the official script leaves the first out',
        ),
      )
    ]

  def companion_files(self, rows):
    """See the protocol: the prompt beside each grid."""
    return {'prompts.json': json.dumps({r.id: r.prompt for r in rows}) + '\n'}

  def read_results(self, path, rows):
    """Reads the text file that the official script writes.

    Args:
      path: file, a line per grid: image path, a score per image, their mean.
      rows: prompts that were drawn.

    Raises:
      ValueError: a line is of another file, or a grid has no result.
    """
    names, values, faults = {row.id for row in rows}, {}, []
    for number, line in enumerate(
      text_files.read(storage.path(path)).split('\n')
    ):
      cells = [cell.strip() for cell in line.split(', ')]
      if len(cells) < 3 or not all(map(_NUMBER.fullmatch, cells[1:])):
        continue  # The summary below the lines.
      name = cells[0].replace('\\', '/').rpartition('/')[2].partition('.')[0]
      if name not in names:
        faults.append(f'line {number + 1}: {cells[0]} is no image of this')
        continue
      if name in values:
        faults.append(f'line {number + 1}: {name} must have a single result')
      values[name] = 100 * float(cells[-1])
    absent = sorted(names - values.keys())
    if absent:
      faults.append(f'{len(absent)} grids have no result, e.g. {absent[0]}')
    input_faults.raise_if_any(faults, f'{path}: ')
    headline = sum(values.values()) / len(values)
    return [
      protocol.Scores('official', headline, '%', {'DPG': headline}, values)
    ]


def _question(cells) -> dict:
  """Returns the question of a row.

  Raises:
    ValueError: a cell is missing or no number.
  """
  for name in _COLUMNS:
    if not (cells.get(name) or '').strip():
      raise ValueError(f'{name!r} is empty')
  # The official script takes the name of a file up to its first dot.
  if set(cells['item_id']) & set('./\\'):
    raise ValueError(
      f'item_id must have no dots or slashes, got {cells["item_id"]!r:.60}'
    )
  try:
    number = int(cells['proposition_id'])
    parents = [int(part) for part in cells['dependency'].split(',')]
  except ValueError as error:
    raise ValueError(
      f'proposition_id and dependency must be integers, got {error}'
    ) from error
  return {
    'id': str(number),
    'question': cells['question_natural_language'],
    'choices': ['yes', 'no'],
    'answer': 'yes',
    'parents': [str(parent) for parent in parents if parent],
    'category': (cells.get('tuple') or 'other').partition('(')[0].strip(),
  }


def _prompt(name, item, faults) -> protocol.DrawingPrompt | None:
  ids = [question['id'] for question in item['questions']]
  strange = {p for q in item['questions'] for p in q['parents']} - set(ids)
  if strange or len(set(ids)) < len(ids):
    faults.append(
      f'{name}: dependency must name other questions of it, got '
      f'{sorted(strange) or ids}'
    )
    return None
  return protocol.DrawingPrompt(
    name,
    item['text'],
    tuple(f'singles/{name}_{n}.png' for n in range(_COUNT)),
    tuple(item['questions']),
    {},
    f'grids/{name}.png',
  )


def _image_score(questions, answers) -> tuple[float, dict[str, float]]:
  """Returns (score of an image, answers before the rule: 1 for yes)."""
  scores = {q['id']: float(answers.get(q['id']) == 'yes') for q in questions}
  answered = dict(scores)
  # In the order of the file: a parent that lost its point takes the child's.
  for question in questions:
    if any(scores[parent] == 0 for parent in question['parents']):
      scores[question['id']] = 0.0
  return sum(scores.values()) / len(scores), answered
