"""The port is open while the model is loaded and its programs are compiled."""

import http.client
import json
import os
import pathlib
import signal
import threading
import time

import pytest
import served

from hermesflow_jax.jobs import serve
from hermesflow_jax.jobs.setup import model_start
from hermesflow_jax.jobs.setup import server_parts
from hermesflow_jax.runtime import open_port
from hermesflow_jax.runtime import terminal
from hermesflow_jax.serving import startup
from hermesflow_jax.serving import warm_up


class Service(served.Stub):
  """A stub whose second program is compiled when `compile` is set."""

  sizes = compiled = (1, 4)

  def __init__(self):
    super().__init__()
    self.load, self.compile = threading.Event(), threading.Event()


@pytest.fixture
def service(monkeypatch):
  service = Service()

  def make(config, path, search):
    service.load.wait(10)
    return service

  def compile_programs(service, top_k):
    service.compiled = ()
    yield 1, 3, 'a'
    service.compiled = (1,)
    yield 2, 3, 'b'
    service.compile.wait(10)
    service.compiled = (1, 4)
    yield 3, 3, 'c'

  monkeypatch.setattr(server_parts, 'make_service', make)
  monkeypatch.setattr(warm_up, 'compile_programs', compile_programs)
  yield service
  service.load.set()
  service.compile.set()


def answer(port, path, body=None):
  """Returns (status, headers, text) of a reply."""
  connection = http.client.HTTPConnection('127.0.0.1', port, timeout=10)
  connection.request(
    'POST' if body else 'GET',
    path,
    body and json.dumps(body),
    {'Content-Type': 'application/json'},
  )
  reply = connection.getresponse()
  text = reply.read().decode()
  connection.close()
  return reply.status, reply.headers, text


def test_a_starting_server_says_how_far_it_is(
  service, monkeypatch, interruptible
):
  output, seen, ports = [], [], []
  listen = open_port.listen

  def remember(host, port):
    listening = listen(host, port)
    ports.append(listening.getsockname()[1])
    return listening

  def health():
    status, headers, text = answer(ports[0], '/healthz')
    return status, headers.get('Retry-After'), json.loads(text)

  def until(condition):
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
      time.sleep(0.01)

  def visit():
    try:
      until(lambda: ports)
      seen.append(health())
      seen.append(answer(ports[0], '/v1/models'))
      seen.append(answer(ports[0], '/'))
      service.load.set()
      until(lambda: health()[0] == 200)
      seen.append(health())
      seen.append(answer(ports[0], '/v1/chat/completions', served.question()))
      service.compile.set()
      until(lambda: 'progress' not in health()[2])
      seen.append(health())
    finally:
      os.kill(os.getpid(), signal.SIGINT)

  monkeypatch.setattr(open_port, 'listen', remember)
  visitor = threading.Thread(target=visit)
  visitor.start()
  console = terminal.Console(output.append, lambda label: lambda items: items)
  serve.run(served.configured(port=0), '', console)
  visitor.join(10)
  loading, refused, page, open_, reply, complete = seen
  progress = {'status': 'starting', 'progress': 'loading the model'}
  assert loading == (503, '2', progress)
  assert (refused[0], refused[1]['Retry-After']) == (503, '2')
  assert json.loads(refused[2])['error']['code'] == 'starting'
  assert page[0] == 503 and 'http-equiv="refresh"' in page[2]
  state = {'status': 'ok', 'waiting': 0}
  compiling = {'progress': '2 of 3 programs are compiled'}
  assert open_ == (200, None, state | compiling)
  assert (reply[0], '"red circle"' in reply[2]) == (200, True)
  assert complete == (200, None, state)
  lines = '\n'.join(output)
  assert 'healthz says how far it is' in output[0]
  assert '1 of 3 programs are compiled after 0 s: a' in lines
  assert 'batches have 4 requests at most, not 32: chunk=' in lines
  assert lines.index('2 of 3') < lines.index('serving') < lines.index('3 of 3')
  assert output[-1] == 'the server has stopped'


def test_a_model_that_cannot_be_loaded_ends_the_server(monkeypatch):
  def make(config, path, search):
    raise ValueError('sizes must be those of the model')

  monkeypatch.setattr(server_parts, 'make_service', make)
  with pytest.raises(ValueError, match='sizes must be those of the model'):
    serve.run(served.configured(port=0), '', terminal.silent())


def test_a_program_that_cannot_be_compiled_leaves_smaller_batches(
  service, monkeypatch
):
  def compile_programs(service, top_k):
    service.compiled = (1,)
    yield 1, 2, 'a'
    raise RuntimeError('out of memory')

  monkeypatch.setattr(warm_up, 'compile_programs', compile_programs)
  service.load.set()
  output, application = [], startup.Startup()
  console = terminal.Console(output.append, lambda label: lambda items: items)
  start = model_start.ModelStart(
    served.configured(), pathlib.Path('small'), '', application, console, 'url'
  )
  assert start.succeeds() and application.is_ready.is_set()
  assert 'out of memory' in output[-1] and service.compiled == (1,)
  start.stop(1)
