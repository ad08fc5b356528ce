"""The longest kernels of a call, of what the profiler wrote."""

import types

import jax
from jax import numpy as jnp
import pytest

from hermesflow_jax.performance.benchmark import kernel_profile


def named(name, **attributes):
  return types.SimpleNamespace(name=name, **attributes)


@pytest.mark.parametrize(
  'function',
  [lambda x: x + 1, lambda x: jnp.tanh(x @ x) + 1],
  ids=['in the thread of Python', 'in a thread of XLA'],
)
def test_kernels_of_short_and_long_programs_are_found(function):
  call, x = jax.jit(function), jnp.ones((64, 64))
  expected = call(x)
  results, kernels = kernel_profile.profile_call(call, (x,))
  assert (results == expected).all()
  assert kernels and sum(k['share'] for k in kernels) == pytest.approx(1)
  assert all(k['calls'] >= 1 and k['seconds'] > 0 for k in kernels)


@pytest.fixture
def written_profile(monkeypatch, tmp_path):
  """Makes a function that stands planes in for a file of the profiler."""
  (tmp_path / 'host.xplane.pb').touch()

  def write(*planes):
    reader = named('', from_file=lambda _: named('', planes=planes))
    monkeypatch.setattr(jax.profiler, 'ProfileData', reader)
    return tmp_path

  return write


def operation(name, nanoseconds, stats=(('hlo_op', 'x'),)):
  return named(name, duration_ns=nanoseconds, stats=stats)


HOST = named(
  '/host:CPU',
  lines=[named('python', events=[operation('call', 9, ()), operation('a', 1)])],
)


def test_an_empty_plane_of_the_tpu_library_hides_no_kernels(written_profile):
  folder = written_profile(named('/device:CUSTOM:Megascale', lines=[]), HOST)
  (kernel,) = kernel_profile.top_kernels(folder, 10)
  assert kernel == {'kernel': 'a', 'calls': 1, 'seconds': 1e-9, 'share': 1}


def test_kernels_of_a_gpu_come_from_its_streams(written_profile):
  lines = [
    named('Stream #7', events=[operation('b', 3, ()), operation('b', 3, ())]),
    named('Stream #8', events=[operation('c', 2, ())]),
    named('XLA Modules', events=[operation('jit_step', 8, ())]),
  ]
  folder = written_profile(HOST, named('/device:GPU:0', lines=lines))
  kernels = kernel_profile.top_kernels(folder, 10)
  assert [(k['kernel'], k['calls']) for k in kernels] == [('b', 2), ('c', 1)]
  assert kernels[0]['share'] == pytest.approx(0.75)
