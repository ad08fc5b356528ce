"""A page with the results of benchmarks, from the evaluation job's results."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

import numpy as np

from hermesflow_jax.reports import html_page
from hermesflow_jax.reports import number_text

_KINDS = {'understanding': 'Understanding', 'generation': 'Generation'}
_PUBLISHED = 'published'
# Rows of HermesFlow's tables beside our own.
_PAPER_ROWS = ('Show-o', 'HermesFlow')


@dataclasses.dataclass(frozen=True)
class Sample:
  """A row of a benchmark to look at.

  Attributes:
    title: text above the card, e.g. 'right'; '' for none.
    prompt: question, or prompt that was drawn.
    images: (uint8[H, W, 3], text below) each.
    lines: (name, text, whether it is right or None) each, e.g. replies.
  """

  title: str
  prompt: str
  images: Sequence[tuple[np.ndarray, str]]
  lines: Sequence[tuple[str, str, bool | None]]


def render_page(
  results: Mapping, samples: Mapping[str, Sequence[Sample]], command: str
) -> str:
  """Returns the page as HTML.

  Args:
    results: content of `results.json`.
    samples: rows to look at, by name of the benchmark.
    command: command that started the job; '' for none.
  """
  models = [model['name'] for model in results['models']]
  return html_page.render(
    'evaluation.html',
    title='Benchmarks',
    lead=lead_sentence(results),
    command=command,
    models=[
      (model['name'], model['path'], _judge_text(model['judge']))
      for model in results['models']
    ],
    summaries=[
      (title, summary_table(entries, models))
      for kind, title in _KINDS.items()
      if (
        entries := [
          entry
          for entry in results['benchmarks'].values()
          if entry['kind'] == kind
        ]
      )
    ],
    sections=[
      _section(entry, models, samples.get(name, ()))
      for name, entry in results['benchmarks'].items()
    ],
  )


def lead_sentence(results: Mapping) -> str:
  """Returns what was compared."""
  models = [model['name'] for model in results['models']]
  names = [entry['title'] for entry in results['benchmarks'].values()]
  text = f'{", ".join(names)} by {models[0]}'
  if len(models) > 1:
    text += f', compared row by row with {", ".join(models[1:])}'
  return text + '.'


def summary_table(
  entries: Sequence[Mapping], models: Sequence[str]
) -> html_page.TableContent:
  """Returns the first number of each benchmark, beside the published ones.

  Args:
    entries: results of benchmarks.
    models: names of the models.
  """
  rows = []
  for entry in entries:
    rule, unit = _first_rule(entry)
    published = {
      row['model']: _number(row['headline'])
      for row in reversed(entry['published'])
    }
    rows.append(
      (
        entry['title'],
        f'{rule}, {unit}' if unit else rule,
        _rows_text(entry),
        *(_headline(entry['models'].get(name, ()), rule) for name in models),
        *(published.get(name, number_text.NOTHING) for name in _PAPER_ROWS),
      )
    )
  papers = [f'{name} ({_PUBLISHED})' for name in _PAPER_ROWS]
  return html_page.TableContent(
    ['Benchmark', 'Rule', 'Rows', *models, *papers], rows, 2
  )


def _rows_text(entry) -> str:
  rows, total = entry['rows'], entry['rows_of_file']
  return f'{rows:,}' if rows == total else f'{rows:,} of {total:,}'


def _first_rule(entry) -> tuple[str, str]:
  for scores in entry['models'].values():
    if scores:
      return scores[0]['rule'], scores[0]['unit']
  return 'no score yet', ''


def _headline(scores, rule) -> str:
  for own in scores:
    if own['rule'] == rule:
      return _number(own['headline'])
  return number_text.NOTHING


def _number(value) -> str:
  digits = 3 if abs(number_text.to_float(value)) < 1 else 2
  return number_text.decimal(value, digits)


def _section(entry, models, samples) -> dict:
  """Returns the template's values for a benchmark."""
  return {
    'title': entry['title'],
    'protocol': entry['protocol'],
    'facts': f'Rows: {_rows_text(entry)}; files: {entry["form"]}.',
    'rules': _rule_table(entry, models),
    'details': [
      (rule, table)
      for rule in _rules(entry)
      if (table := _value_table(entry, models, rule)).rows
    ],
    'published': html_page.TableContent(
      ['Model', 'Source', 'Number'],
      [
        (row['model'], row['source'], _number(row['headline']))
        for row in entry['published']
      ],
      2,
    ),
    'notes': [*entry['notes'], *_score_notes(entry)],
    'samples': samples,
  }


def _score_notes(entry) -> list[str]:
  """Returns the notes of scores, each once, with what it is about."""
  owners = {}
  for name, scores in entry['models'].items():
    for own in scores:
      for note in own['notes']:
        owners.setdefault(note, []).append(f'{name}, {own["rule"]}')
  count = sum(len(scores) for scores in entry['models'].values())
  return [
    note if len(names) == count else f'{"; ".join(names)}: {note}'
    for note, names in owners.items()
  ]


def _rules(entry) -> list[str]:
  return list(
    dict.fromkeys(
      own['rule'] for scores in entry['models'].values() for own in scores
    )
  )


def _rule_table(entry, models) -> html_page.TableContent:
  """Returns headlines by rule, with the change of each model to the first."""
  header = ['Rule', models[0]]
  for name in models[1:]:
    header += [name, 'change per row']
  rows = []
  for rule in _rules(entry):
    cells = [rule, _headline(entry['models'].get(models[0], ()), rule)]
    for name in models[1:]:
      own = [s for s in entry['models'].get(name, ()) if s['rule'] == rule]
      cells += [
        _headline(own, rule),
        _change(own[0].get('change')) if own else number_text.NOTHING,
      ]
    rows.append(cells)
  return html_page.TableContent(header, rows)


def _change(change) -> str:
  if not change:
    return number_text.NOTHING
  mean = number_text.decimal(change['mean'], 3, signed=True)
  error = number_text.decimal(change['standard_error'], 3)
  return f'{mean} ± {error}'


def _value_table(entry, models, rule) -> html_page.TableContent:
  """Returns all numbers of a rule by model."""
  values = {}
  for name in models:
    for own in entry['models'].get(name, ()):
      if own['rule'] == rule:
        values[name] = dict(_flat(own['values']))
  names = list(dict.fromkeys(key for own in values.values() for key in own))
  return html_page.TableContent(
    ['', *models],
    [
      (
        key,
        *(
          _number(values[name][key])
          if key in values.get(name, {})
          else number_text.NOTHING
          for name in models
        ),
      )
      for key in names
    ],
  )


def _flat(values, prefix=''):
  """Yields (name, number) of nested values."""
  for key, value in values.items():
    if isinstance(value, Mapping):
      yield from _flat(value, f'{prefix}{key}: ')
    else:
      yield f'{prefix}{key}', value


def _judge_text(judge) -> str:
  if not judge:
    return 'no judge'
  text = f'judge: {judge["name"]}'
  if judge.get('prompt'):
    text += f', asked: {judge["prompt"]}'
  return text
