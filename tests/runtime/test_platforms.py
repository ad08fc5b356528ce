"""A platform that is not there is named, with those that are."""

import jax
from jax.extend import backend
import pytest

from hermesflow_jax.runtime import platforms


@pytest.mark.parametrize(
  'error, reason',
  [
    (AssertionError(), 'for that platform'),
    (
      RuntimeError("no libtpu (set JAX_PLATFORMS='' to choose)"),
      'for that platform: no libtpu',
    ),
  ],
)
def test_a_platform_that_is_not_there_is_named(monkeypatch, error, reason):
  devices, calls = jax.devices(), []

  def first_fails():
    calls.append(jax.config.jax_platforms)
    if len(calls) == 1:
      raise error
    return devices

  before = jax.config.jax_platforms
  monkeypatch.setenv('JAX_PLATFORMS', 'cuda')
  monkeypatch.setattr(jax, 'devices', first_fails)
  monkeypatch.setattr(backend, 'clear_backends', lambda: None)
  with pytest.raises(ValueError) as raised:
    platforms.check()
  assert str(raised.value) == (
    "JAX_PLATFORMS must name platforms of this machine (cpu), got 'cuda'; "
    f'unset it, or install JAX {reason}'
  )
  # All that JAX has are tried, and then the setting is what it was.
  assert calls == [before, None] and jax.config.jax_platforms == before


def test_platforms_that_are_there_are_taken():
  platforms.check()
