"""The server checks its settings before it loads a model."""

import builtins
import socket
import types

import pytest

import configs.benchmark
import configs.serve
from hermesflow_jax.jobs import serve
from hermesflow_jax.jobs import serve_benchmark
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal


def configured(**changes):
  values = configs.serve.get_config().to_dict() | changes
  del values['job']
  return settings.build(serve.Settings, values)


@pytest.mark.parametrize('host', ['localhost', '127.0.0.1', '127.8.0.1', '::1'])
def test_this_machine_needs_no_key(host):
  assert configured(host=host).key_variable == ''


@pytest.mark.parametrize('host', ['0.0.0.0', '::', '10.0.0.1', 'example.org'])
def test_other_hosts_need_a_key(host):
  with pytest.raises(ValueError, match='key_variable must be given with host'):
    configured(host=host)
  assert configured(host=host, key_variable='SERVE_KEY').host == host


def test_a_server_has_a_size_of_batches():
  with pytest.raises(ValueError, match='batches must have a size'):
    configured(batches=())


def test_a_key_must_be_set(monkeypatch):
  monkeypatch.delenv('SERVE_KEY', raising=False)
  config = configured(key_variable='SERVE_KEY')
  with pytest.raises(ValueError, match='SERVE_KEY, which is not set'):
    serve.run(config, '', terminal.silent())


def test_a_port_in_use_is_named_before_a_model_is_loaded():
  with socket.create_server(('127.0.0.1', 0)) as other:
    port = other.getsockname()[1]
    with pytest.raises(ValueError, match=f'port must be free .* got {port}'):
      serve.run(configured(port=port), '', terminal.silent())


def test_a_host_of_another_machine_is_named():
  with pytest.raises(ValueError, match=r'host must be an address .* 192\.0\.2'):
    serve.listen('192.0.2.1', 0)


def test_an_address_of_version_six_has_brackets():
  with serve.listen('127.0.0.1', 0) as listening:
    port = listening.getsockname()[1]
    assert serve.address(listening) == f'http://127.0.0.1:{port}'
    # No second server takes the port while this one loads its model.
    with pytest.raises(ValueError, match='port must be free'):
      serve.listen('127.0.0.1', port)
  six = types.SimpleNamespace(getsockname=lambda: ('::1', 80, 0, 0))
  assert serve.address(six) == 'http://[::1]:80'


def test_a_missing_package_is_one_line(monkeypatch):
  load = builtins.__import__

  def without_uvicorn(name, *arguments):
    if name == 'uvicorn':
      raise ModuleNotFoundError("No module named 'uvicorn'")
    return load(name, *arguments)

  monkeypatch.setattr(builtins, '__import__', without_uvicorn)
  serve.server_parts.cache_clear()
  with pytest.raises(ValueError, match=r"uvicorn'; run pip install 'herm") as e:
    serve.run(configured(), '', terminal.silent())
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
