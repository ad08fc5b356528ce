"""Writes a TIFA file of questions by a language model behind an endpoint."""

from __future__ import annotations

import dataclasses
import typing

from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import user_text

with lazy_modules.on_first_use():
  from hermesflow_jax.data import input_faults
  from hermesflow_jax.data import record_values
  from hermesflow_jax.jobs.setup import job_results
  from hermesflow_jax.jobs.setup import workdir_claim
  from hermesflow_jax.judging import answer_cache
  from hermesflow_jax.judging import chat_endpoint
  from hermesflow_jax.judging import endpoint_settings
  from hermesflow_jax.judging import question_writer
  from hermesflow_jax.judging import worker_threads

NAME = 'questions.jsonl'
# Faults that a message names.
_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class Settings:
  """Job settings.

  Attributes:
    annotations: file of records with id and caption, see `record_files`.
    endpoint: the language model.
    on_error: 'raise' ends the job at a record without id or caption, 'skip'
      leaves it out.
  """

  annotations: str
  endpoint: endpoint_settings.EndpointSettings
  on_error: typing.Annotated[str, settings.one_of(*input_faults.POLICIES)] = (
    'raise'
  )

  def __post_init__(self):
    settings.check(self)
    for name in ('url', 'model'):
      if not getattr(self.endpoint, name):
        raise ValueError(f"endpoint.{name} must be given, got ''")


def run(config: Settings, workdir: str, console: terminal.Console) -> dict:
  """Writes `questions.jsonl` into `workdir`; a stopped job continues.

  Returns:
    Counts of captions, questions, and questions that were left out.

  Raises:
    ValueError: the records or the endpoint cannot be used.
    ConnectionError: the endpoint does not reply; no reply is lost.
  """
  captions = _read_captions(config, console)
  endpoint = chat_endpoint.ChatEndpoint(config.endpoint, 'endpoint')
  workdir_claim.check_no_run(workdir)
  root = storage.path(workdir)
  if config.endpoint.probe:
    endpoint.probe(with_image=False)
  cache = answer_cache.AnswerCache(root / 'replies')
  writer = question_writer.QuestionWriter(endpoint, cache)
  items = list(captions.items())
  results = worker_threads.map_unordered(
    lambda item: writer.write(*item), items, config.endpoint.parallel
  )
  written = [question_writer.WrittenQuestions([])] * len(items)
  try:
    for _ in console.progress('writing questions')(range(len(items))):
      position, questions = next(results)
      written[position] = questions
  finally:
    results.close()
    cache.flush()
  rows = [row for questions in written for row in questions.rows]
  target = root / NAME
  output_files.write_atomically(target, job_results.unicode_json_lines(rows))
  counts = {
    'captions': len(items),
    'without_questions': sum(not questions.rows for questions in written),
    'questions': len(rows),
    **{
      name: sum(getattr(questions, name) for questions in written)
      for name in ('damaged', 'refused', 'repeated')
    },
    'requests': writer.requests,
    'prompt_tokens': writer.prompt_tokens,
    'completion_tokens': writer.completion_tokens,
  }
  record = {'model': config.endpoint.model, 'host': config.endpoint.host}
  job_results.write_json(root / 'results.json', record | counts)
  console.say(
    f'{user_text.counted(len(rows), "question")} '
    f'about {user_text.counted(len(items), "caption")} in {target}; left out: '
    f'{counts["refused"]} that the caption does not answer, '
    f'{counts["damaged"]} damaged, {counts["repeated"]} repeated; '
    f'{counts["without_questions"]} captions have none'
  )
  return counts


def _read_captions(config, console) -> dict[str, str]:
  """Returns captions by id."""
  captions, faults = {}, []
  for place, row in record_values.normalized_values(
    config.annotations, console.say
  ):
    try:
      name = record_values.get_id(row)
      if name in captions:
        raise ValueError(f'id {name} occurs twice')
      captions[name] = record_values.get_text(row, 'caption')
    except ValueError as error:
      faults.append(f'{place}: {error}')
  if faults and config.on_error == 'raise':
    more = len(faults) - _SHOWN
    raise ValueError(
      'annotations must be records with id and caption, got '
      f'{user_text.counted(len(faults), "fault")} in {config.annotations}: '
      + '; '.join(faults[:_SHOWN])
      + (f'; and {more} more' if more > 0 else '')
    )
  if faults:
    console.say(f'{len(faults)} records are left out, first {faults[0]}')
  if not captions:
    raise ValueError(
      f'annotations must hold captions, got {config.annotations}, without any'
    )
  return captions
