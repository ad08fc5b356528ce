"""Measures the requests that a server answers each second, over HTTP."""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import threading
import typing

from hermesflow_jax.jobs.setup import reading_model
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import thread_turns

with lazy_modules.on_first_use():
  from hermesflow_jax.jobs.setup import job_model
  from hermesflow_jax.jobs.setup import job_results
  from hermesflow_jax.jobs.setup import server_parts
  from hermesflow_jax.jobs.setup import workdir_claim
  from hermesflow_jax.performance.benchmark import http_clients
  from hermesflow_jax.runtime import open_port
  from hermesflow_jax.sampling import maskgit

# A stopped measurement begins anew.
RESUMES = False


@dataclasses.dataclass(frozen=True)
class Settings(reading_model.ReadingSettings):
  """Job settings.

  Attributes:
    sampler: sampler of drawings.
    batches: sizes of batches; smaller ones are padded.
    prompt: text that is drawn.
    question: question about the drawings.
    images: number of images that the questions are about.
    requests: requests in a measurement.
    clients: clients that are measured beside a single one.
    repeats: measurements; the median is reported.
  """

  sampler: maskgit.MaskGITSampler
  batches: tuple[settings.PositiveInt, ...]
  prompt: str
  question: str
  images: settings.PositiveInt
  requests: settings.PositiveInt
  clients: typing.Annotated[int, settings.at_least(2)]
  repeats: settings.PositiveInt


def run(
  config: Settings, workdir: str, console: terminal.Console
) -> list[dict]:
  """Measures chat completions and drawings.

  Writes `results.json` and `table.md`, and prints the table.

  Args:
    config: job settings.
    workdir: folder of the results.
    console: prints progress and the table.

  Returns:
    A row for each kind of request: requests per second by a single client and
    by many, and their ratio.

  Raises:
    ValueError: unusable setting, model or workdir.
  """
  workdir_claim.check_no_run(workdir)
  parts = server_parts.load()
  service = server_parts.make_service(config, job_model.locate(config, console))
  top_k = service.unified.vocab.text_size
  steps = parts.warm_up.compile_programs(service, top_k)
  for number, count, name in steps:
    console.say(f'{number} of {count} programs are compiled: {name}')
  draw = [
    {'prompt': config.prompt, 'seed': seed} for seed in range(config.requests)
  ]
  rows = []
  with _running(parts, service) as address:
    for name, route, bodies in (
      ('chat', '/v1/chat/completions', _questions(parts, service, config)),
      ('images', '/v1/images/generations', draw),
    ):
      single_rate, rate = (
        statistics.median(rates)
        for rates in http_clients.request_rates(
          address, route, bodies, (1, config.clients), config.repeats
        )
      )
      rows.append(
        {
          'requests': name,
          'clients': config.clients,
          'single_rate': single_rate,
          'rate': rate,
          'ratio': rate / single_rate,
        }
      )
  root = storage.path(workdir)
  job_results.write_json(root / 'results.json', {'rows': rows})
  output_files.write_atomically(root / 'table.md', table(rows) + '\n')
  console.say(table(rows))
  return rows


def _questions(parts, service, config) -> list[dict]:
  """Returns questions about drawings; each client has its own image."""
  drawn = service.draw(
    [
      parts.service_requests.DrawRequest(config.prompt, seed)
      for seed in range(config.images)
    ],
    config.sampler,
  )
  urls = [
    f'data:image/png;base64,{parts.image_forms.png_base64(image)}'
    for image in drawn
  ]
  return [
    {
      'messages': [
        {
          'role': 'user',
          'content': [
            {'type': 'text', 'text': config.question},
            {'type': 'image_url', 'image_url': {'url': urls[n % len(urls)]}},
          ],
        }
      ],
      'temperature': 0,
    }
    for n in range(config.requests)
  ]


@contextlib.contextmanager
def _running(parts, service):
  """Serves in a thread; yields (host, port)."""
  queue = parts.request_queue.RequestQueue(
    service.run, 1024, lambda: service.compiled
  )
  limits = parts.request_images.ImageLimits(2**24, 2**24)
  server = parts.app.Server(
    service, queue, parts.app.AppSettings('model', '', limits, 2**25, 0)
  )
  listening = open_port.listen('127.0.0.1', 0)
  program = parts.uvicorn.Server(
    parts.uvicorn.Config(server.app(), log_level='warning')
  )
  thread = threading.Thread(target=program.run, args=([listening],))
  thread.start()
  try:
    with thread_turns.short_turns():
      yield listening.getsockname()[:2]
  finally:
    program.should_exit = True
    thread.join()
    queue.close()
    listening.close()


def table(rows: list[dict]) -> str:
  """Returns the rates as a Markdown table.

  Args:
    rows: from `run`.
  """
  count = rows[0]['clients']
  lines = [
    f'| requests | a second, 1 client | a second, {count} clients | ratio |',
    '|---|---|---|---|',
    *(
      f'| {row["requests"]} | {row["single_rate"]:.1f} | {row["rate"]:.1f} | '
      f'{row["ratio"]:.1f} |'
      for row in rows
    ),
  ]
  return '\n'.join(lines)
