"""The server checks its settings before it loads a model."""

import builtins
from concurrent import futures
import json
import socket
import types

import numpy as np
import pytest
import served

import configs.benchmark
from hermesflow_jax.jobs import serve
from hermesflow_jax.jobs import serve_benchmark
from hermesflow_jax.jobs.setup import server_parts
from hermesflow_jax.performance.benchmark import http_clients
from hermesflow_jax.runtime import open_port
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal
from hermesflow_jax.serving import warm_up


@pytest.mark.parametrize('host', ['localhost', '127.0.0.1', '127.8.0.1', '::1'])
def test_this_machine_needs_no_key(host):
  assert served.configured(host=host).key_variable == ''


@pytest.mark.parametrize('host', ['0.0.0.0', '::', '10.0.0.1', 'example.org'])
def test_other_hosts_need_a_key(host):
  with pytest.raises(ValueError, match='key_variable must be given with host'):
    served.configured(host=host)
  assert served.configured(host=host, key_variable='SERVE_KEY').host == host


def test_a_server_has_a_size_of_batches():
  with pytest.raises(ValueError, match='batches must have a size'):
    served.configured(batches=())


def test_a_key_must_be_set(monkeypatch):
  monkeypatch.delenv('SERVE_KEY', raising=False)
  config = served.configured(key_variable='SERVE_KEY')
  with pytest.raises(ValueError, match='SERVE_KEY, which is not set'):
    serve.run(config, '', terminal.silent())


def test_a_port_in_use_is_named_before_a_model_is_loaded():
  with socket.create_server(('127.0.0.1', 0)) as other:
    port = other.getsockname()[1]
    with pytest.raises(ValueError, match=f'port must be free .* got {port}'):
      serve.run(served.configured(port=port), '', terminal.silent())


def test_a_host_of_another_machine_is_named():
  with pytest.raises(ValueError, match=r'host must be an address .* 192\.0\.2'):
    open_port.listen('192.0.2.1', 0)


def test_an_address_of_version_six_has_brackets():
  with open_port.listen('127.0.0.1', 0) as listening:
    port = listening.getsockname()[1]
    assert open_port.address(listening) == f'http://127.0.0.1:{port}'
    # No second server takes the port while this one loads its model.
    with pytest.raises(ValueError, match='port must be free'):
      open_port.listen('127.0.0.1', port)
  six = types.SimpleNamespace(getsockname=lambda: ('::1', 80, 0, 0))
  assert open_port.address(six) == 'http://[::1]:80'


def test_a_missing_package_is_one_line(monkeypatch):
  load = builtins.__import__

  def without_uvicorn(name, *arguments):
    if name == 'uvicorn':
      raise ModuleNotFoundError("No module named 'uvicorn'")
    return load(name, *arguments)

  monkeypatch.setattr(builtins, '__import__', without_uvicorn)
  server_parts.load.cache_clear()
  with pytest.raises(ValueError, match=r"uvicorn'; run pip install 'herm") as e:
    serve.run(served.configured(), '', terminal.silent())
  assert '\n' not in str(e.value)


def test_the_benchmark_has_settings_and_a_table():
  values = configs.benchmark.get_config('serve').to_dict()
  assert values.pop('job') == 'serve_benchmark'
  config = settings.build(serve_benchmark.Settings, values)
  row = {'requests': 'chat', 'clients': config.clients, 'single_rate': 10.0}
  row |= {'rate': 45.0, 'ratio': 4.5}
  assert serve_benchmark.table([row]).splitlines()[-1] == (
    '| chat | 10.0 | 45.0 | 4.5 |'
  )


def test_the_benchmark_measures_a_server(tmp_path, monkeypatch):
  service = served.Stub()
  service.sizes, service.compiled = (1, 4), (1, 4)
  service.draw = lambda requests, sampler: [
    np.zeros((served.SIDE, served.SIDE, 3), np.uint8) for _ in requests
  ]
  monkeypatch.setattr(server_parts, 'make_service', lambda *_: service)
  monkeypatch.setattr(
    warm_up, 'compile_programs', lambda *_: iter([(1, 1, 'a')])
  )
  # Clients of this process: a new one takes a second.
  monkeypatch.setattr(
    http_clients.concurrent.futures,
    'ProcessPoolExecutor',
    lambda count, context: futures.ThreadPoolExecutor(count),
  )
  values = configs.benchmark.get_config('serve').to_dict()
  del values['job']
  values |= {'requests': 6, 'clients': 3, 'repeats': 1, 'images': 2}
  values['question'] = 'what color is the shape ?'
  values['prompt'] = 'red circle'
  config = settings.build(serve_benchmark.Settings, values)
  output = []
  console = terminal.Console(output.append, lambda label: lambda items: items)
  rows = serve_benchmark.run(config, str(tmp_path), console)
  assert [row['requests'] for row in rows] == ['chat', 'images']
  for row in rows:
    assert row['rate'] > 0 and row['ratio'] == row['rate'] / row['single_rate']
  assert json.loads((tmp_path / 'results.json').read_text()) == {'rows': rows}
  assert (tmp_path / 'table.md').read_text() == output[-1] + '\n'
  # Not counted ones, and those that are: by one client and by three.
  questions = [
    r for kind, batch in service.batches for r in batch if kind == ('reply',)
  ]
  assert len(questions) == 4 * 6
  assert len({r.image.name for r in questions}) == 1
