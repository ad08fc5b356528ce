"""The device's time: what it waited for, and what went into compiling."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import tiny

from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import timing

PAUSE = 0.05


def test_pauses_of_the_host_are_the_device_s_waiting():
  double = jax.jit(lambda a: 2 * a)
  rows = np.arange(8.0)
  double(rows[:4])  # Compiled for the mesh below, though, it is not.
  with timing.DeviceClock() as clock:
    for _ in range(3):
      result = batching.map_batches(
        double, rows, 4, tiny.mesh(1, 1), clock=clock
      )
      time.sleep(PAUSE)
  np.testing.assert_array_equal(result, 2 * rows)
  assert clock.waited >= 2 * PAUSE
  assert 0 < clock.compiled
  assert clock.waited + clock.compiled <= clock.seconds
  assert 'waited for' in str(clock)


def test_a_device_that_is_busy_does_not_wait():
  """A slow host is of no consequence while the call before goes on."""

  class Running:
    def is_ready(self):
      return False

  with timing.DeviceClock() as clock:
    before = clock.call(lambda batch: Running(), None)
    for _ in range(3):
      time.sleep(PAUSE)
      before = clock.call(lambda batch: Running(), None, before)
    clock.fetched()
  assert clock.waited == 0.0 and clock.seconds >= 3 * PAUSE


def test_a_clock_that_is_read_hears_no_more():
  with timing.DeviceClock() as clock:
    pass
  jax.jit(lambda a: a + 1)(jnp.ones(3))
  clock.call(lambda batch: batch, jnp.ones(2))
  assert clock.compiled == 0.0
