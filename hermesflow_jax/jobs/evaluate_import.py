"""Adds to an evaluation what other programs say about its predictions.

E.g. what GenEval's detector found on the images that a run has drawn, or the
replies of a model that this library does not run.
"""

from __future__ import annotations

import dataclasses
import pathlib

from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import user_text

with lazy_modules.on_first_use():
  from hermesflow_jax.benchmarks import benchmark_files
  from hermesflow_jax.benchmarks import registry
  from hermesflow_jax.jobs import evaluate
  from hermesflow_jax.jobs.setup import benchmark_results
  from hermesflow_jax.jobs.setup import benchmark_sets
  from hermesflow_jax.jobs.setup import evaluation_report
  from hermesflow_jax.jobs.setup import job_results
  from hermesflow_jax.jobs.setup import job_start


@dataclasses.dataclass(frozen=True)
class Settings:
  """Job settings.

  Attributes:
    run: folder of a finished run of `evaluate`.
    benchmark: a benchmark of that run.
    model: name of the model in its results. With replies: a name for the model
      that wrote them.
    results: what the official scorer wrote, see the benchmark's
      `read_results`; for questions about images, replies as JSON lines with
      `id` and `reply`.
  """

  run: str
  benchmark: str
  model: str
  results: str

  def __post_init__(self):
    settings.check(self)
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if not value.strip():
        raise ValueError(f"{field.name} must be given, got ''")
      user_text.check_plain(field.name, value)
    registry.make(self.benchmark)
    if '/' in self.model or self.model in ('.', '..'):
      raise ValueError(
        f'model must be a name without slashes, got {self.model!r}'
      )


def run(config: Settings, workdir: str, console: terminal.Console) -> dict:
  """Reads results and writes the `results.json` of the run anew.

  Args:
    config: job settings.
    workdir: not used; the results belong to the run.
    console: prints the new table.

  Returns:
    The results of the run.

  Raises:
    ValueError: the run, the model or the results cannot be used.
  """
  del workdir
  root, saved, results = _open_run(config.run)
  if config.benchmark not in saved.benchmarks:
    raise ValueError(
      f'benchmark must be one of {", ".join(saved.benchmarks)} of {root}, got '
      f'{config.benchmark!r}'
    )
  sets = benchmark_sets.read(
    saved.benchmarks, saved.sources, saved.rows, console
  )
  entry = sets[saved.benchmarks.index(config.benchmark)]
  _check_unchanged(entry, root)
  folder = root / 'predictions' / config.model / config.benchmark
  names = [model['name'] for model in results['models']]
  if entry.asks:
    _add_replies(config, entry, folder, names, results)
  else:
    # Models without a path are those of imported replies.
    names = [m['name'] for m in results['models'] if m.get('path')]
    if config.model not in names:
      raise ValueError(
        f'model must be one of {", ".join(names)} of {root}, got '
        f'{config.model!r}'
      )
    scores = entry.benchmark.read_results(config.results, entry.rows)
    benchmark_results.write_imported(folder, scores)
  folders = {
    model['name']: root / 'predictions' / model['name'] / config.benchmark
    for model in results['models']
  }
  results['benchmarks'][config.benchmark] = benchmark_results.of_benchmark(
    entry, {k: f for k, f in folders.items() if _has_predictions(f)}
  )
  page = evaluation_report.write_page(results, sets, root, console.command)
  job_results.write_json(root / 'results.json', results)
  console.say(
    benchmark_results.summary_text(
      {config.benchmark: results['benchmarks'][config.benchmark]}
    )
  )
  console.say(f'see {page}')
  return results


def _open_run(folder: str) -> tuple[pathlib.PurePath, evaluate.Settings, dict]:
  """Returns (folder, settings, results) of a finished run.

  Raises:
    ValueError: no such run, or it is not finished.
  """
  root = storage.path(folder)
  expected = 'run must be the folder of a finished evaluate'
  if not (root / 'settings.json').exists():
    raise ValueError(f'{expected}, got {folder!r}, which holds no run')
  saved = output_files.read_json(root / 'settings.json')
  if 'benchmarks' not in saved or 'sources' not in saved:
    raise ValueError(f'{expected}, got {folder}, a run of another job')
  results = job_start.read_results(root / 'results.json', evaluate.is_complete)
  if results is None:
    raise ValueError(
      f'{expected}, got {folder}, which is not finished; run its command again'
    )
  names = {field.name for field in dataclasses.fields(evaluate.Settings)}
  values = {key: value for key, value in saved.items() if key in names}
  place = str(root / 'settings.json')
  return root, settings.build(evaluate.Settings, values, place), results


def _check_unchanged(entry, root) -> None:
  """Checks that a benchmark has the rows that the run has predicted.

  Raises:
    ValueError: its files have changed.
  """
  name = entry.benchmark.name
  saved = output_files.read_json(root / 'settings.json')
  expected = saved.get('benchmark_files', {}).get(name)
  if expected and expected != entry.content_hash() and not entry.temporary:
    raise ValueError(
      f'sources.{name} must have the files that {root} has predicted, got '
      'others; bring them back, or run the evaluation in another --workdir'
    )


def _add_replies(config, entry, folder, names, results):
  """Writes the replies of another model as predictions.

  Raises:
    ValueError: the file lacks rows, or the name is that of a model of the run.
  """
  own = any(
    model['name'] == config.model and model.get('path')
    for model in results['models']
  )
  if own:
    raise ValueError(
      f'model must not be a model of the run, which has its own replies, got '
      f'{config.model!r}'
    )
  prompts, lines, faults = {row.id: row.prompt for row in entry.rows}, {}, []
  for place, value in benchmark_files.read_lines(storage.path(config.results)):
    try:
      benchmark_files.check_fields(value, {'id': str, 'reply': str})
      if value['id'] not in prompts:
        raise ValueError(f'id must be of a row, got {value["id"]!r:.60}')
      if value['id'] in lines:
        raise ValueError(f'id must occur once, got {value["id"]!r:.60} again')
      user_text.check('reply', value['reply'])
    except ValueError as error:
      faults.append(f'{place}: {error}')
      continue
    name = value['id']
    lines[name] = {'id': name, 'prompt': prompts[name], 'reply': value['reply']}
  absent = [name for name in prompts if name not in lines]
  if absent:
    faults.append(f'{len(absent)} rows have no reply, e.g. {absent[0]}')
  if faults:
    more = f'; and {len(faults) - 5} more' if len(faults) > 5 else ''
    raise ValueError(f'{config.results}: {"; ".join(faults[:5])}{more}')
  output_files.write_atomically(
    folder / 'predictions.jsonl',
    job_results.unicode_json_lines([lines[name] for name in prompts]),
  )
  if config.model not in names:
    results['models'].append({'name': config.model, 'path': '', 'judge': None})


def _has_predictions(folder) -> bool:
  return (folder / 'predictions.jsonl').exists()
