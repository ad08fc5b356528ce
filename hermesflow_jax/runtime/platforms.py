"""Kinds of devices that JAX may use, by JAX_PLATFORMS and by the machine."""

import os

import jax


def check() -> None:
  """Starts the platforms that JAX_PLATFORMS names, all or by default the best.

  Raises:
    ValueError: JAX cannot use a platform; the error names those it can use.
  """
  try:
    jax.devices()
    return
  # An assertion of JAX fails where its plugin for a platform is not installed.
  except (RuntimeError, AssertionError) as error:
    fault = error
  setting = os.environ.get('JAX_PLATFORMS', jax.config.jax_platforms)
  # JAX advises in brackets to unset the variable.
  reason = str(fault).partition(' (set JAX_PLATFORMS')[0]
  raise ValueError(
    f'JAX_PLATFORMS must name platforms of this machine ({_usable()}), got '
    f'{setting!r}; unset it, or install JAX for that platform'
    + (f': {reason}' if reason else '')
  ) from fault


def _usable() -> str:
  """Returns this machine's platforms, e.g. 'cuda, cpu'."""
  # Takes time, and is needed after an error only.
  from jax.extend import backend

  before = jax.config.jax_platforms
  backend.clear_backends()
  jax.config.update('jax_platforms', None)
  try:
    best = {device.platform for device in jax.devices()}
  except RuntimeError:
    best = set()
  finally:
    jax.config.update('jax_platforms', before)
  return ', '.join([*sorted(best - {'cpu'}), 'cpu'])
