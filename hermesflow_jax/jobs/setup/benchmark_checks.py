"""What the evaluation job checks before it reads any weight."""

from collections.abc import Sequence
import dataclasses

from hermesflow_jax.data import input_faults
from hermesflow_jax.jobs.setup import benchmark_judges
from hermesflow_jax.jobs.setup import benchmark_sets
from hermesflow_jax.jobs.setup import drawing_measures
from hermesflow_jax.jobs.setup import evaluated_models
from hermesflow_jax.jobs.setup import job_judging
from hermesflow_jax.jobs.setup import record_checks
from hermesflow_jax.runtime import storage


def read_all(
  config, workdir: str, console
) -> tuple[
  list[evaluated_models.EvaluatedModel], list[benchmark_sets.BenchmarkSet]
]:
  """Returns the models and the benchmarks of a job, all checked.

  Args:
    config: settings of `evaluate`.
    workdir: run folder.
    console: prints what is left out.

  Raises:
    ValueError: names the faults of models, benchmarks and judge.
  """
  faults = []
  models = input_faults.attempt(
    faults,
    evaluated_models.locate,
    config,
    config.models or (config.init_from,),
    console,
  )
  sets = input_faults.attempt(
    faults,
    benchmark_sets.read,
    config.benchmarks,
    config.sources,
    config.rows,
    console,
    config.search,
  )
  if sets and needs_judge(sets) and models:
    own = dataclasses.replace(config, init_from=models[0].config.init_from)
    input_faults.attempt(
      faults, job_judging.check, own.judged, storage.path(workdir), console
    )
    input_faults.attempt(faults, benchmark_judges.check, config, models)
  if models and sets:
    for model in models:
      input_faults.attempt(faults, _check_texts, config, model, sets, console)
  for entry in filter(is_measured, sets or ()):
    input_faults.attempt(
      faults,
      drawing_measures.check,
      config.measures,
      config.encoders,
      entry.rows,
    )
  input_faults.raise_if_any(faults)
  return models, sets


def _check_texts(config, model, sets, console):
  """Checks that prompts and questions fit into the rows of a model.

  Raises:
    ValueError: one does not fit, and the settings of its benchmark say 'raise'.
  """
  texts = record_checks.load_text_checks(
    model.config, model.path, config.judged.answers.answering
  )
  faults, cut = [], 0
  for entry in sets:
    name, own = entry.benchmark.name, []
    for row in entry.rows:
      if entry.asks:
        questions = [{'question': row.prompt}]
      else:
        cut += texts.read_to(row.prompt) is not None
        judged = config.judge.kind and row.image is None
        questions = [] if judged else row.questions
      for question in questions:
        input_faults.attempt(own, texts.check_question, question)
    if own and getattr(config.sources, name).on_error == 'skip':
      console.say(f'{model.name}, {name}: {len(own)} replies stay empty')
    elif own:
      faults.append(
        f'{model.name} cannot read {len(own)} prompts of {name}: {own[0]}; '
        f'leave their replies empty with --config.sources.{name}.on_error=skip'
      )
  if cut:
    console.say(f'{model.name} reads only the beginning of {cut} prompts')
  input_faults.raise_if_any(faults)


def is_measured(entry: benchmark_sets.BenchmarkSet) -> bool:
  """Returns whether a network measures the drawings of a benchmark."""
  return not entry.asks and not any(row.questions for row in entry.rows)


def needs_judge(sets: Sequence[benchmark_sets.BenchmarkSet]) -> bool:
  """Returns whether a judge answers questions about drawings."""
  return any(not e.asks and any(r.questions for r in e.rows) for e in sets)
