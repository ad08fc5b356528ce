"""Serves a model in the form of OpenAI's API."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import typing

from hermesflow_jax.jobs.setup import reading_model
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import search_settings

with lazy_modules.on_first_use():
  from hermesflow_jax.jobs.setup import job_model
  from hermesflow_jax.jobs.setup import model_start
  from hermesflow_jax.jobs.setup import server_parts
  from hermesflow_jax.runtime import open_port
  from hermesflow_jax.runtime import thread_turns
  from hermesflow_jax.sampling import maskgit


@dataclasses.dataclass(frozen=True)
class Settings(reading_model.ReadingSettings):
  """Job settings.

  Attributes:
    host: address to listen on; others than this machine need a key.
    port: port; 0 for a free one.
    name: name of the model in replies; '' for the end of `init_from`.
    key_variable: environment variable with the key that clients send; '' for
      none.
    sampler: sampler of drawings.
    search: search for the best drawings of a request; `candidates` is the
      number of drawings for each image of a request without `best_of`.
    top_k: likeliest tokens that a sampled token is among; 0 for all.
    batches: sizes of batches; smaller ones are padded.
    warm_up: whether programs of these sizes are compiled at the start, small
      ones before the first request.
    access_log: whether each request is logged.
    most_waiting: requests that wait at most; others get status 429.
    most_body: bytes of a request at most.
    most_image: bytes of an image at most.
    most_pixels: pixels of an image at most.
    files: folder that `file://` addresses of images may name; '' for none.
    stop_seconds: seconds that a stopping server works on, at most.
  """

  host: str
  port: typing.Annotated[int, settings.between(0, 65535)]
  name: str
  key_variable: str
  sampler: maskgit.MaskGITSampler
  top_k: settings.NonNegativeInt
  batches: tuple[settings.PositiveInt, ...]
  warm_up: bool
  access_log: bool
  most_waiting: settings.PositiveInt
  most_body: settings.PositiveInt
  most_image: settings.PositiveInt
  most_pixels: settings.PositiveInt
  files: str
  stop_seconds: settings.PositiveInt
  search: search_settings.Search = search_settings.Search()

  def __post_init__(self):
    super().__post_init__()
    self.search.check_sampler(self.sampler)
    self.search.check_questions([[]], 'serve')
    if not self.batches:
      raise ValueError('batches must have a size, got none; e.g. (1, 8)')
    if not self.key_variable and not open_port.is_local(self.host):
      raise ValueError(
        f'key_variable must be given with host {self.host}, which other '
        "machines reach, got ''; put a key into an environment variable and "
        'give its name, or take host=127.0.0.1'
      )


def run(config: Settings, workdir: str, console: terminal.Console) -> None:
  """Serves until a stop signal comes; then it answers what it has accepted.

  Args:
    config: job settings.
    workdir: not used; the server writes no files.
    console: prints the address, and which programs are compiled.

  Raises:
    ValueError: unusable setting or model, or the port is in use.
  """
  del workdir
  modules = server_parts.load()
  key = _key(config)
  path = job_model.locate(config, console)
  listening = open_port.listen(config.host, config.port)
  url = open_port.address(listening)
  console.say(f'loading {path}; {url}/healthz says how far it is')
  startup = modules.startup.Startup()
  program = modules.uvicorn.Server(
    modules.uvicorn.Config(
      startup,
      lifespan='off',
      log_level='info' if config.access_log else 'warning',
      access_log=config.access_log,
      timeout_graceful_shutdown=config.stop_seconds,
    )
  )
  start = model_start.ModelStart(config, path, key, startup, console, url)

  def start_model():
    if not start.succeeds():
      program.should_exit = True

  thread = threading.Thread(target=start_model, daemon=True)
  thread.start()
  try:
    # uvicorn answers what runs, and then hands the stop signal on.
    with contextlib.suppress(KeyboardInterrupt), thread_turns.short_turns():
      program.run(sockets=[listening])
  finally:
    start.stop(config.stop_seconds)
    thread.join(config.stop_seconds)
    listening.close()
  if start.error:
    raise start.error
  console.say('the server has stopped')


def _key(config) -> str:
  """Returns the key of clients.

  Raises:
    ValueError: the environment variable holds none.
  """
  if not config.key_variable:
    return ''
  key = os.environ.get(config.key_variable, '').strip()
  if not key:
    raise ValueError(
      'key_variable must be an environment variable with a key, got '
      f'{config.key_variable}, which is not set'
    )
  return key
