"""Results of benchmarks: scores of each model, and differences in pairs."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import pathlib

import numpy as np

from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.benchmarks import published
from hermesflow_jax.evaluation import gap
from hermesflow_jax.jobs.setup import benchmark_predictions
from hermesflow_jax.jobs.setup import benchmark_sets
from hermesflow_jax.jobs.setup import job_results
from hermesflow_jax.jobs.setup import job_start
from hermesflow_jax.runtime import output_files

# Scores of official scorers, and of networks, beside the predictions.
_IMPORTED, _MEASURED = 'imported.json', 'measured.json'


def of_benchmark(
  entry: benchmark_sets.BenchmarkSet, folders: Mapping[str, pathlib.PurePath]
) -> dict:
  """Scores all models on a benchmark.

  Args:
    entry: the benchmark with its rows.
    folders: folder of the predictions, by name of the model; the first model is
      the base.

  Returns:
    JSON types: title, protocol, form, rows, notes, published numbers, and by
    model its scores; where they were counted also the mean decoder passes per
    drawing.
  """
  benchmark = entry.benchmark
  scores = {name: _score(entry, folder) for name, folder in folders.items()}
  base = {s.rule: s for s in next(iter(scores.values()))}
  passes = {
    name: benchmark_predictions.mean_passes(folder)
    for name, folder in folders.items()
  }
  by_search = {'decoder_passes': passes} if any(passes.values()) else {}
  return by_search | {
    'title': benchmark.title_of(len(entry.rows)),
    'protocol': benchmark.protocol,
    'kind': 'understanding' if entry.asks else 'generation',
    'form': entry.form,
    'rows': len(entry.rows),
    'rows_of_file': entry.total,
    'notes': list(entry.notes),
    'published': [
      {'model': model, 'headline': number, 'source': source}
      for model, number, source in published.rows(benchmark.name)
    ],
    'models': {
      name: [_record(s, base.get(s.rule)) for s in own]
      for name, own in scores.items()
    },
  }


def write_official_files(
  entry: benchmark_sets.BenchmarkSet, folder: pathlib.PurePath
) -> None:
  """Writes the files that official scorers read.

  Args:
    entry: the benchmark with its rows.
    folder: folder of the predictions of a model.
  """
  if entry.asks:
    replies = _meanings(entry, folder)
    texts = entry.benchmark.prediction_files(entry.rows, replies)
    folder = folder / 'official'
  else:
    texts = entry.benchmark.companion_files(entry.rows)
    folder = folder / 'images'
  for name, text in texts.items():
    output_files.write_atomically(folder / name, text)


def write_imported(
  folder: pathlib.PurePath, scores: Sequence[protocol.Scores]
) -> None:
  """Writes scores of an official scorer beside the predictions.

  Args:
    folder: folder of the predictions of a model.
    scores: scores; they come before those of this run.
  """
  _write(folder / _IMPORTED, scores)


def write_measured(
  folder: pathlib.PurePath, scores: Sequence[protocol.Scores]
) -> None:
  """Writes what a network measured about the drawings of a model.

  Args:
    folder: folder of the predictions of a model.
    scores: scores.
  """
  _write(folder / _MEASURED, scores)


def _write(path, scores):
  values = [dataclasses.asdict(s) for s in scores]
  job_results.write_json(path, {'scores': values})


def _read(path) -> list[protocol.Scores]:
  saved = job_start.read_results(path) or {'scores': []}
  return [
    protocol.Scores(**{**value, 'notes': tuple(value['notes'])})
    for value in saved['scores']
  ]


def _score(entry, folder) -> list[protocol.Scores]:
  if entry.asks:
    replies = _meanings(entry, folder)
    return entry.benchmark.score(entry.rows, replies)
  answers = benchmark_predictions.read_answers(folder)
  return [
    *_read(folder / _IMPORTED),
    *_read(folder / _MEASURED),
    *entry.benchmark.score(entry.rows, answers),
  ]


def _meanings(entry, folder) -> dict[str, str]:
  """Returns the replies, with the meanings of `reply_words`."""
  replies = benchmark_predictions.read_replies(folder)
  words = entry.reply_words
  return {name: words.get(text.strip(), text) for name, text in replies.items()}


def _record(scores, base) -> dict:
  """Returns the scores of a model as JSON types, beside those of the base."""
  record = {
    field.name: getattr(scores, field.name)
    for field in dataclasses.fields(scores)
    if field.name != 'rows'
  }
  record['notes'] = list(scores.notes)
  if base is not None and scores is not base:
    record['change'] = paired_change(base.rows, scores.rows)
  return record


def paired_change(
  base: Mapping[str, float], rows: Mapping[str, float]
) -> dict[str, float]:
  """Compares two models row by row.

  Args:
    base: a number per row of the base, by id.
    rows: a number per row of the other model, by id.

  Returns:
    `mean` of the differences and its `standard_error` (NaN for one row), in
    the unit of a row, over the `rows` that both have.
  """
  shared = [name for name in base if name in rows]
  values = np.array([rows[name] - base[name] for name in shared], np.float64)
  return {
    'mean': float(values.mean()) if shared else float('nan'),
    'standard_error': gap.standard_error(values),
    'rows': len(shared),
  }


def summary_text(results: Mapping[str, Mapping]) -> str:
  """Returns a table with a line per benchmark and rule.

  Args:
    results: results of `of_benchmark` by name of the benchmark.
  """
  names = list(dict.fromkeys(n for r in results.values() for n in r['models']))
  lines: list[Sequence[str]] = []
  for result in results.values():
    models, rows = result['models'], _rows_text(result)
    units = {s['rule']: s['unit'] for own in models.values() for s in own}
    for rule, unit in units.items():
      name = f'{result["title"]} ({rule}{f", {unit}" if unit else ""})'
      cells = [name, rows]
      for name in names:
        own = [s for s in models.get(name, ()) if s['rule'] == rule]
        cells.append(_number(own[0]['headline']) if own else '-')
      lines.append(cells)
    if passes := result.get('decoder_passes'):
      cells = [passes.get(name) for name in names]
      lines.append(
        [
          f'{result["title"]} (decoder passes per image)',
          rows,
          *('-' if count is None else _number(count) for count in cells),
        ]
      )
  if not lines:
    return ''
  table = [['benchmark', 'rows', *names], *lines]
  widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
  return '\n'.join(
    '  '.join(
      [
        row[0].ljust(widths[0]),
        *(c.rjust(width) for c, width in zip(row[1:], widths[1:], strict=True)),
      ]
    ).rstrip()
    for row in table
  )


def _rows_text(result) -> str:
  """Returns how many rows were predicted, of how many in the file."""
  rows, total = result.get('rows'), result.get('rows_of_file')
  if rows is None:
    return '-'
  return f'{rows:,}' if rows == total else f'{rows:,} of {total:,}'


def _number(value: float) -> str:
  """Returns a headline with as many decimals as papers print."""
  return f'{value:.3f}' if abs(value) < 1 else f'{value:.2f}'
