"""A model as the judge of a job: its settings, its folder, its answers."""

from collections.abc import Callable
import dataclasses
import pathlib

from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.checkpoints import model_folder
from hermesflow_jax.evaluation import gap
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import job_scoring
from hermesflow_jax.jobs.setup import judge_record
from hermesflow_jax.jobs.setup import judged_job
from hermesflow_jax.jobs.setup import model_hashes
from hermesflow_jax.jobs.setup import reading_model
from hermesflow_jax.jobs.setup import tokenizer_hashes
from hermesflow_jax.judging import model_judge
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import unified_model

_SETTING = 'judge'


def settings_of(job: judged_job.JudgedJob) -> reading_model.ReadingSettings:
  """Returns settings of a job that would start from the judge.

  Args:
    job: settings of a job with a judge.
  """
  judge = job.judge
  return reading_model.ReadingSettings(
    mesh=job.model.mesh,
    init_from=judge.init_from,
    tokenizer=judge.tokenizer,
    text=judge.text,
    vision=judge.vision,
    missing='',
    sizes=None,
    chunk=job.model.chunk,
    adapters='',
  )


def with_sizes(
  settings: job_model.ModelSettings,
  path: pathlib.PurePath,
  sizes: model_folder.Sizes | None,
) -> job_model.ModelSettings:
  """Returns settings with the sizes of the run where the judge has none.

  Args:
    settings: settings of a job that would start from the judge.
    path: model folder of the judge.
    sizes: sizes of the run's model, if its settings have any.

  Raises:
    ValueError: the judge is a converted Show-o, and the run has no sizes.
  """
  if initial_model.open(path).has_tokenizers:
    return settings
  if sizes is None:
    raise ValueError(
      f'{_SETTING}.init_from must be a trained model or a bundle in a run '
      f'without `sizes`, got {path}, a converted Show-o; take a config that '
      'has them, e.g. the variant show_o_256'
    )
  return dataclasses.replace(settings, sizes=sizes)


def locate(
  job: judged_job.JudgedJob, console: terminal.Console
) -> pathlib.PurePath:
  """Returns the model folder of the judge.

  Args:
    job: settings of a job with a judge.
    console: prints which model of a run is the judge.

  Raises:
    ValueError: there is no such model.
  """
  try:
    return job_model.locate(settings_of(job), console)
  except ValueError as error:
    if str(error).startswith('vision'):
      text = str(error).replace(
        '--config.vision', f'--config.{_SETTING}.vision'
      )
      raise ValueError(f'{_SETTING}.{text}') from error
    raise ValueError(
      f'{_SETTING}.init_from must be a model, got {job.judge.init_from}: '
      f'{error}'
    ) from error


def make(
  job: judged_job.JudgedJob,
  base: unified_model.UnifiedModel,
  decode: Callable,
  console: terminal.Console,
) -> tuple[Callable, dict[str, str]]:
  """Returns the judge, and a record of it, see `job_judging.make`.

  Args:
    job: settings of a job with a judge.
    base: model whose images are judged.
    decode: codes of `base` -> images.
    console: shows progress.
  """
  settings = settings_of(job)
  path = locate(job, terminal.silent())
  record = {
    'name': f'model {path}',
    'model': str(path),
    'prompt': judge_record.model_prompt(job.answers),
  }
  if _same_weights(job.model, settings, path):
    # The judge of images of files without this setting, under its own name.
    record['name'] = gap.BASE_MODEL
    return answers_of(base), record
  settings = with_sizes(settings, path, job.model.sizes)
  parts = job_model.load_parts(settings, path, base.mesh)
  model = job_scoring.place_on_mesh(
    settings, parts, base.mesh, console, job.answers
  )
  same_codes = model.grid == base.grid and (
    tokenizer_hashes.image_hash(model.tokenizer)
    == tokenizer_hashes.image_hash(base.tokenizer)
  )
  return model_judge.make(model, decode, same_codes), record


def _same_weights(config, settings, path) -> bool:
  """Returns whether the judge is the model that the run starts from."""
  own = job_model.locate(config)
  return processes.broadcast_from_first(
    lambda: (
      model_hashes.weight_hashes(config, own)
      == model_hashes.weight_hashes(settings, path)
    )
  )


def answers_of(base: unified_model.UnifiedModel) -> Callable:
  """Returns the judge that is the model itself.

  Args:
    base: the model.
  """
  return model_judge.make(base)
