"""The judge of a job: checked before work, and made when it is needed."""

from collections.abc import Callable
import functools
import pathlib

import jax

from hermesflow_jax.evaluation import gap
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import job_scoring
from hermesflow_jax.jobs.setup import judge_model
from hermesflow_jax.jobs.setup import judge_record
from hermesflow_jax.jobs.setup import judged_job
from hermesflow_jax.jobs.setup import model_hashes
from hermesflow_jax.jobs.setup import tokenizer_hashes
from hermesflow_jax.judging import answer_cache
from hermesflow_jax.judging import chat_endpoint
from hermesflow_jax.judging import endpoint_judge
from hermesflow_jax.judging import file_judge
from hermesflow_jax.judging import imported_judge
from hermesflow_jax.judging import judge_settings
from hermesflow_jax.judging import model_judge
from hermesflow_jax.judging import question_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import scored_images
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.scoring import imported_function
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.shapes import pixel_judge

SETTING = 'judge'
_FOLDER = 'judge'
# Judges whose replies are mapped to choices.
_MATCHED = ('endpoint', 'files')


def check(
  job: judged_job.JudgedJob, root: pathlib.PurePath, console: terminal.Console
) -> None:
  """Checks the judge before any weight is read; all processes call it.

  Args:
    job: settings of the job.
    root: run folder. A finished run asks no endpoint.
    console: prints which model of a run is the judge.

  Raises:
    ValueError: a model, a file, a key or a function is missing, or the endpoint
      does not reply.
  """
  judge = job.judge
  if judge.kind == 'pixels' and job.has_own_images:
    raise ValueError(
      f'{SETTING}.kind must not be pixels with files of your own, got pixels: '
      'that judge knows the embedded world alone; leave '
      f'{job.flag}.{SETTING}.kind out for the base model, or give another '
      'judge (docs/judges.md)'
    )
  if judge.kind == 'model':
    judge_model.with_sizes(
      judge_model.settings_of(job),
      judge_model.locate(job, console),
      job.model.sizes,
    )
  elif judge.kind == 'files':
    question_files.read_answers(judge.answers, f'{SETTING}.answers')
  elif judge.kind == 'endpoint':
    endpoint = _endpoint(judge)
    if judge.probe and not processes.broadcast_from_first(
      (root / 'results.json').exists
    ):
      processes.on_first_process(endpoint.probe)
  elif imported_function.is_path(judge.kind):
    imported_function.load(f'{SETTING}.kind', judge.kind)
  elif judge.kind not in judge_settings.KINDS:
    raise ValueError(
      f'{SETTING}.kind must be a judge or an import path, got {judge.kind!r}'
    )
  if judge.kind in _MATCHED:
    job_scoring.check_matcher(job.answers, job.answer_flag)


def content_hashes(job: judged_job.JudgedJob) -> dict[str, Callable]:
  """Returns `contents` of `workdir_claim.claim_workdir` for the judge.

  All processes call it.

  Args:
    job: settings of the job.
  """
  judge, hashes = job.judge, {}
  if judge.kind == 'model':
    settings = judge_model.settings_of(job)
    path = job_model.locate(settings)
    # All processes read a checkpoint together.
    weights = model_hashes.weight_hashes(settings, path)
    hashes['judge_model'] = lambda: weights
    if judge.text:
      text = text_tokenizer.load(judge.text)
      hashes['judge_text'] = functools.partial(tokenizer_hashes.text_hash, text)
  if judge.kind in _MATCHED and not job.answers.free_answers:
    hashes |= job_scoring.matcher_hashes(job.answers)
  return hashes


def make(
  job: judged_job.JudgedJob,
  base: unified_model.UnifiedModel,
  root: pathlib.PurePath,
  console: terminal.Console,
) -> tuple[Callable, dict[str, str]]:
  """Returns the judge of a run; all processes call it.

  Args:
    job: settings of the job.
    base: base model, whose tokenizer decodes images.
    root: run folder, which keeps the replies of an endpoint.
    console: prints how many replies are known.

  Returns:
    A `gap.Judge`, and a record of it: `name`, `prompt`, and where they apply
    `model`, `host` and `answers`.

  Raises:
    ValueError: see `check`.
  """
  judge = job.judge
  if judge.kind == 'endpoint':
    return _make_endpoint_judge(job, base, root, console)
  if judge.kind == 'model':
    decode = _decoder(base, model_judge.BLOCK)
    return judge_model.make(job, base, decode, console)
  if judge.kind == 'files':
    matcher = job_scoring.make_matcher(job.answers, base.mesh)
    folder = root / _FOLDER / 'open_questions'
    decode = _decoder(base, file_judge.BLOCK)
    answers = file_judge.make(judge.answers, decode, matcher, folder)
    return answers, {
      'name': 'answers in files',
      'answers': judge.answers,
      'prompt': judge_record.ALL_FIELDS,
    }
  if imported_function.is_path(judge.kind):
    function = imported_function.load(f'{SETTING}.kind', judge.kind)
    decode = _decoder(base, imported_judge.BLOCK)
    return imported_judge.CheckedJudge(judge.kind, function, decode), {
      'name': judge.kind,
      'prompt': str(getattr(function, 'prompt', judge_record.ALL_FIELDS)),
    }
  if job.has_own_images:
    record = {
      'name': gap.BASE_MODEL,
      'prompt': judge_record.model_prompt(job.answers),
    }
    return judge_model.answers_of(base), record
  record = {'name': 'pixels', 'prompt': judge_record.QUESTION}
  return pixel_judge.judge_of_codes(base.decode), record


def cache_folder(
  judge: judge_settings.JudgeSettings, root: pathlib.PurePath
) -> pathlib.PurePath:
  """Returns the folder with the replies of an endpoint.

  Args:
    judge: settings of the judge.
    root: run folder.
  """
  return storage.path(judge.cache) if judge.cache else root / _FOLDER


def _endpoint(judge):
  return chat_endpoint.ChatEndpoint(judge, SETTING, jax.process_count())


def _make_endpoint_judge(job, base, root, console):
  judge = job.judge
  folder = cache_folder(judge, root)
  cache = answer_cache.AnswerCache(folder, jax.process_index())
  if len(cache) or cache.damaged:
    lost = f', {cache.damaged} damaged lines skipped' if cache.damaged else ''
    console.say(f'judge: {len(cache)} replies found in {folder}{lost}')
  matcher = job_scoring.make_matcher(job.answers, base.mesh)
  record = {
    'name': judge.model,
    'model': judge.model,
    'host': judge.host,
    'prompt': judge.prompt,
  }
  return endpoint_judge.EndpointJudge(
    judge,
    _endpoint(judge),
    _decoder(base, endpoint_judge.BLOCK),
    matcher,
    cache,
    console.progress,
  ), record


def _decoder(base, most) -> Callable:
  """Returns codes -> images, which do not depend on their number.

  Ids and caches hash the pixels.

  Args:
    base: base model, whose tokenizer decodes.
    most: most images in a call.
  """
  return functools.partial(scored_images.decode, base, most=most)
