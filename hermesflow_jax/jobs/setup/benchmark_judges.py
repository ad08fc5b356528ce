"""The judge of drawings of several models: the same for all of them."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import pathlib

from hermesflow_jax.evaluation import gap
from hermesflow_jax.jobs.setup import evaluated_models
from hermesflow_jax.jobs.setup import job_judging
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import unified_model

# Judges that read rows of tokens.
_MODELS = ('', 'model')


def reads_rows(config) -> bool:
  """Returns whether the judge is a model, in whose rows a question must fit.

  Args:
    config: settings of `evaluate`.
  """
  return config.judge.kind in _MODELS


def check(config, models: Sequence) -> None:
  """Checks that the first model can judge the drawings of the others.

  Args:
    config: settings of `evaluate`.
    models: see `make`.

  Raises:
    ValueError: it cannot be read as a judge.
  """
  if not config.judge.kind and len(models) > 1 and config.adapters:
    raise ValueError(
      'judge.kind must be given with adapters and several models, got '
      f"'' with {config.adapters!r}"
    )


def make(
  models: Sequence[evaluated_models.EvaluatedModel],
  model: evaluated_models.EvaluatedModel,
  unified: unified_model.UnifiedModel,
  root: pathlib.PurePath,
  console: terminal.Console,
) -> tuple[Callable, dict[str, str]]:
  """Returns the judge of the drawings of a model; all processes call it.

  Without a setting the first model is the judge of all models: scores of
  different judges cannot be compared.

  Args:
    models: models of the job.
    model: the model that draws.
    unified: this model on its mesh.
    root: run folder.
    console: see `job_judging.make`.

  Returns:
    (judge, record), see `job_judging.make`.
  """
  job, first = model.config.judged, models[0].config
  if job.judge.kind or model is models[0]:
    return job_judging.make(job, unified, root, console)
  judge = dataclasses.replace(
    job.judge,
    kind='model',
    init_from=first.init_from,
    tokenizer=first.tokenizer,
    text=first.text,
    vision=first.vision,
  )
  own = dataclasses.replace(job, judge=judge)
  function, record = job_judging.make(own, unified, root, console)
  return function, record | {'name': gap.BASE_MODEL}
