"""Every change of an array changes its fingerprint; its mesh does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from hermesflow_jax.checkpoints import fingerprints
from hermesflow_jax.runtime import sharding


@pytest.mark.parametrize('host', [0, fingerprints.HOST])
def test_fingerprints_do_not_depend_on_the_mesh(monkeypatch, host):
  monkeypatch.setattr(fingerprints, 'HOST', host)
  tree = tiny.show_o(jax.random.key(0))
  alone, tree = (
    jax.device_put(tree, sharding.shardings(tree, tiny.mesh(*shape)))
    for shape in ((1, 1), (4, 2))
  )
  assert fingerprints.fingerprint(alone) == fingerprints.fingerprint(tree)


def test_one_flipped_bit_changes_the_fingerprint():
  values = np.random.default_rng(0).normal(size=1_000).astype(np.float32)
  whole = fingerprints.fingerprint({'a': jnp.asarray(values)})
  for place, bit in ((0, 0), (1, 31), (500, 17), (999, 30)):
    bits = values.view(np.uint32).copy()
    bits[place] ^= np.uint32(1) << np.uint32(bit)
    flipped = fingerprints.fingerprint(
      {'a': jnp.asarray(bits.view(np.float32))}
    )
    assert flipped['a'][0] != whole['a'][0]
    assert flipped['a'][1] != whole['a'][1]


def test_a_large_array_has_the_sums_of_the_whole(monkeypatch):
  tree = {
    'a': jnp.arange(7 * 5 * 3, dtype=jnp.float32).reshape(7, 5, 3),
    'b': jnp.arange(41, dtype=jnp.bfloat16),
    'c': jnp.float32(3),
  }
  whole = fingerprints.fingerprint(tree)
  for size in (1, 50, 100, 200):
    monkeypatch.setattr(fingerprints, 'CHUNK', size)
    assert fingerprints.fingerprint(tree) == whole


def test_the_host_has_the_sums_of_the_devices(monkeypatch):
  bits = np.random.default_rng(0).integers(0, 256, 4 * 30, np.uint8)
  tree = {
    dtype: jnp.asarray(bits.view(dtype).reshape(2, 3, -1))
    for dtype in ('float32', 'bfloat16', 'int32', 'uint8')
  }
  tree |= {'bool': jnp.asarray(bits > 99), 'scalar': jnp.float32(3)}
  by_host = fingerprints.fingerprint(tree)
  monkeypatch.setattr(fingerprints, 'HOST', 0)
  assert fingerprints.fingerprint(tree) == by_host


def test_two_swapped_values_change_the_fingerprint():
  def of(*values):
    return fingerprints.fingerprint({'a': jnp.array(values)})

  assert of(1.0, 2.0, 3.0) != of(2.0, 1.0, 3.0)
