"""Loads the model of a server, and compiles its programs, in a thread."""

import dataclasses
import threading
import time

from hermesflow_jax.jobs.setup import server_parts


class ModelStart:
  """Loads a model, and compiles its programs, beside the event loop.

  Args:
    config: job settings.
    path: model folder.
    key: key of clients, or ''.
    startup: answers until the smallest batches are compiled.
    console: prints progress.
    url: address of the server.

  Attributes:
    error: the exception that ended it before the server answered; None for
      none.
  """

  def __init__(self, config, path, key, startup, console, url):
    self._config, self._path, self._key = config, path, key
    self._startup, self._console, self._url = startup, console, url
    self._queue, self._stops = None, threading.Event()
    self.error: Exception | None = None

  def succeeds(self) -> bool:
    """Does the work; returns whether the server can answer."""
    try:
      self._run()
    except Exception as error:
      if not self._startup.is_ready.is_set():
        self.error = error
        return False
      # Smaller batches are compiled, and answer all requests.
      self._console.say(f'a program cannot be compiled: {error!r:.300}')
    return True

  def stop(self, seconds: float) -> None:
    """Ends the work after the program that is compiled, and the queue.

    Args:
      seconds: time that waiting requests have, at most.
    """
    self._stops.set()
    if self._queue:
      self._queue.close(seconds)

  def _run(self):
    config, modules = self._config, server_parts.load()
    service = server_parts.make_service(
      config,
      self._path,
      dataclasses.replace(config.search, candidates=1, score='likelihood'),
    )
    largest = max(config.batches)
    if largest > service.sizes[-1]:
      self._console.say(
        f'batches have {service.sizes[-1]} requests at most, not {largest}: '
        f'chunk={config.chunk} rows fit on a device'
      )
    self._queue = modules.request_queue.RequestQueue(
      service.run, config.most_waiting, lambda: service.compiled
    )
    server = modules.app.Server(
      service,
      self._queue,
      modules.app.AppSettings(
        config.name or self._path.name,
        self._key,
        modules.request_images.ImageLimits(
          config.most_image, config.most_pixels, config.files
        ),
        config.most_body,
        config.top_k,
        config.search.candidates,
      ),
    )
    if config.warm_up:
      self._compile(service, server)
    else:
      self._open(server)

  def _compile(self, service, server):
    top_k = self._config.top_k or service.unified.vocab.text_size
    began = time.monotonic()
    self._startup.progress = 'compiling the first program'
    for number, count, name in server_parts.load().warm_up.compile_programs(
      service, top_k
    ):
      progress = f'{number} of {count} programs are compiled'
      self._startup.progress = progress
      server.progress = '' if number == count else progress
      seconds = time.monotonic() - began
      self._console.say(f'{progress} after {seconds:.0f} s: {name}')
      if service.compiled and not self._startup.is_ready.is_set():
        self._open(server)
      if self._stops.is_set():
        return

  def _open(self, server):
    self._startup.hand_on(server.app())
    self._console.say(
      f'serving {self._path} at {self._url}/v1, its page at {self._url}; '
      'Ctrl-C stops'
    )
