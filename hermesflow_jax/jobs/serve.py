"""Serves a model in the form of OpenAI's API."""

import contextlib
import dataclasses
import errno
import functools
import ipaddress
import os
import socket
import time
import types
import typing

from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import reading_model
from hermesflow_jax.jobs.setup import vision_tower
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import search_settings

# Connections that wait while the model loads.
_BACKLOG = 2048
_INSTALL = "pip install 'hermesflow_jax[serve]'"


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
    warm_up: whether programs of these sizes are compiled before the first
      request.
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
    if not self.key_variable and not is_local(self.host):
      raise ValueError(
        f'key_variable must be given with host {self.host}, which other '
        "machines reach, got ''; put a key into an environment variable and "
        'give its name, or take host=127.0.0.1'
      )


def is_local(host: str) -> bool:
  """Returns whether only this machine reaches an address.

  Args:
    host: name or address.
  """
  if host == 'localhost':
    return True
  try:
    return ipaddress.ip_address(host).is_loopback
  except ValueError:
    return False


@functools.cache
def server_parts() -> types.SimpleNamespace:
  """Imports what only a server needs; returns the modules by name.

  Raises:
    ValueError: a package is missing.
  """
  try:
    import uvicorn

    from hermesflow_jax.serving import app
    from hermesflow_jax.serving import image_forms
    from hermesflow_jax.serving import model_service
    from hermesflow_jax.serving import request_images
    from hermesflow_jax.serving import request_queue
  except ImportError as error:
    raise ValueError(
      f'serve needs starlette, uvicorn and python-multipart, got {error}; run '
      f'{_INSTALL}'
    ) from error
  return types.SimpleNamespace(
    uvicorn=uvicorn,
    app=app,
    image_forms=image_forms,
    model_service=model_service,
    request_images=request_images,
    request_queue=request_queue,
  )


def run(config: Settings, workdir: str, console: terminal.Console) -> None:
  """Serves until a stop signal comes; then it answers what it has accepted.

  Args:
    config: job settings.
    workdir: not used; the server writes no files.
    console: prints the address.

  Raises:
    ValueError: unusable setting or model, or the port is in use.
  """
  del workdir
  modules = server_parts()
  key = _key(config)
  path = job_model.locate(config, console)
  listening = listen(config.host, config.port)
  mesh = config.mesh.make()
  parts = job_model.load_parts(config, path, mesh)
  unified = job_model.place_on_mesh(config, parts, mesh, terminal.silent())
  service = modules.model_service.ModelService(
    unified,
    vision_tower.image_size(unified),
    config.sampler,
    config.batches,
    dataclasses.replace(config.search, candidates=1, score='likelihood'),
  )
  if config.warm_up:
    warm_up(service, config.top_k, console)
  queue = modules.request_queue.RequestQueue(
    service.run, service.sizes[-1], config.most_waiting, service.sizes
  )
  limits = modules.request_images.ImageLimits(
    config.most_image, config.most_pixels, config.files
  )
  server = modules.app.Server(
    service,
    queue,
    modules.app.AppSettings(
      config.name or path.name,
      key,
      limits,
      config.most_body,
      config.top_k,
      config.search.candidates,
    ),
  )
  url = address(listening)
  console.say(f'serving {path} at {url}/v1, its page at {url}; Ctrl-C stops')
  program = modules.uvicorn.Server(
    modules.uvicorn.Config(
      server.app(),
      log_level='info' if config.access_log else 'warning',
      access_log=config.access_log,
      timeout_graceful_shutdown=config.stop_seconds,
    )
  )
  try:
    # uvicorn answers what runs, and then hands the stop signal on.
    with contextlib.suppress(KeyboardInterrupt):
      program.run(sockets=[listening])
  finally:
    queue.close(config.stop_seconds)
    listening.close()
  console.say('the server has stopped')


def warm_up(service, top_k: int, console: terminal.Console) -> None:
  """Compiles programs, so that no first request waits for them.

  Args:
    service: a `model_service.ModelService`.
    top_k: likeliest tokens that a sampled token is among; 0 for all.
    console: prints the number of batches and the seconds.
  """
  began = time.monotonic()
  console.say(
    'compiling programs for batches of '
    f'{", ".join(map(str, service.sizes))} requests'
  )
  count = service.warm_up(top_k or service.unified.vocab.text_size)
  console.say(f'{count} batches ran in {time.monotonic() - began:.0f} s')


def address(listening: socket.socket) -> str:
  """Returns the address of a socket that listens, e.g. 'http://[::1]:8000'.

  Args:
    listening: the socket.
  """
  host, port = listening.getsockname()[:2]
  return f'http://[{host}]:{port}' if ':' in host else f'http://{host}:{port}'


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


def listen(host: str, port: int) -> socket.socket:
  """Returns a socket that listens.

  Args:
    host: name or address of this machine.
    port: port; 0 for a free one.

  Raises:
    ValueError: the address cannot be used, e.g. another program listens there.
  """
  family = socket.AF_INET6 if ':' in host else socket.AF_INET
  listening = socket.socket(family)
  listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
  try:
    listening.bind((host, port))
    # At once: no second server takes the port while this one loads its model.
    listening.listen(_BACKLOG)
  except OSError as error:
    listening.close()
    is_host = isinstance(error, socket.gaierror) or (
      error.errno == errno.EADDRNOTAVAIL
    )
    if is_host:
      raise ValueError(
        f'host must be an address of this machine, got {host}: '
        f'{error.strerror}; give e.g. --config.host=127.0.0.1'
      ) from error
    raise ValueError(
      f'port must be free on {host}, got {port}: '
      f'{error.strerror}; give another --config.port, or 0 for any'
    ) from error
  return listening
