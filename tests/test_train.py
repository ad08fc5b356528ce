"""The training step: what it changes, and what it never changes."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from hermesflow_jax import checkpoint
from hermesflow_jax import masking
from hermesflow_jax import pretraining
from hermesflow_jax import sharding
from hermesflow_jax import train
from hermesflow_jax.data import pipeline
from tiny_line import KEY
from tiny_line import line
from tiny_line import optim
from tiny_line import squares
import tiny_line



def assert_same(found, wanted):
  jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_a_step_that_is_not_finite_changes_nothing_but_the_step():
  mesh, settings = tiny.mesh(8, 1), optim()
  step = train.make_step(squares, settings, KEY, mesh)
  batches = tiny_line.batches(mesh, broken={1})
  state, _ = step(
      train.init_state(line, settings, KEY, mesh), jnp.float32(1.0),
      next(batches),
  )
  before = jax.device_get(state)
  state, metrics = step(state, jnp.float32(1.0), next(batches))
  assert metrics['train/skipped'] == 1
  assert int(state.step) == 2
  assert_same(state.model, before.model)
  assert_same(state.opt_state, before.opt_state)
  state, metrics = step(state, jnp.float32(1.0), next(batches))
  assert metrics['train/skipped'] == 0 and np.isfinite(metrics['train/loss'])
  assert not np.array_equal(state.model.kernel[...], before.model.kernel[...])


def test_the_schedule_rises_then_falls_as_a_cosine():
  rate = optim(lr=2.0, steps=100, warmup=0.2, final=0.1).schedule()
  np.testing.assert_allclose(rate(0), 0.0)
  np.testing.assert_allclose(rate(10), 1.0)
  np.testing.assert_allclose(rate(20), 2.0)
  np.testing.assert_allclose(rate(60), (2.0 + 0.2) / 2, rtol=1e-6)
  np.testing.assert_allclose(rate(100), 0.2, rtol=1e-6)
  np.testing.assert_allclose(rate(1_000), 0.2, rtol=1e-6)


def test_without_warm_up_the_rate_begins_at_its_peak():
  rate = optim(lr=2.0, steps=10, warmup=0.0).schedule()
  np.testing.assert_allclose(rate(0), 2.0)
  np.testing.assert_allclose(rate(10), 0.0, atol=1e-7)


@pytest.mark.parametrize('make', [tiny.show_o, lambda key: tiny.tokenizer()])
def test_weight_decay_is_for_kernels_and_embeddings(make):
  model = jax.eval_shape(make, KEY)
  leaves, _ = jax.tree_util.tree_flatten_with_path(train.decayed(model))
  names = {sharding.path_name(path): decays for path, decays in leaves}
  last = {name.rsplit('/', 1)[-1]: [] for name in names}
  for name, decays in names.items():
    last[name.rsplit('/', 1)[-1]].append(decays)
  for kind, decays in last.items():
    assert set(decays) == {kind in ('kernel', 'embedding')}, kind
  assert {'kernel', 'bias', 'scale'} <= last.keys()


def test_a_run_leaves_the_model_it_starts_from_alone():
  mesh, settings = tiny.mesh(8, 1), optim()
  model = jax.device_put(line(KEY), sharding.replicated(mesh))
  kernel = np.array(model.kernel[...])
  state = train.start_state(model, settings, mesh)
  assert_same(state.model, model)
  step = train.make_step(squares, settings, KEY, mesh)
  batches = tiny_line.batches(mesh)
  for _ in range(3):
    state, _ = step(state, jnp.float32(1.0), next(batches))
  np.testing.assert_array_equal(model.kernel[...], kernel)
  assert not np.array_equal(state.model.kernel[...], kernel)


@functools.cache
def show_o_step(mesh):
  """A step of pretraining."""
  loss = functools.partial(
      pretraining.loss, mixture=pretraining.Mixture(),
      schedule=masking.cosine, image_tokens=tiny.IMAGE_TOKENS,
      reply=tiny.LENGTHS.reply,
  )
  return train.make_step(loss, optim(), KEY, mesh)


def show_o_batches(mesh, start=0):
  return pipeline.batches(
      tiny.records(12), tiny.flows(pretraining.Mixture()), seed=0, batch=8,
      start=start, mesh=mesh,
  )


def show_o_steps(state, steps, mesh):
  batches = show_o_batches(mesh, start=int(state.step))
  every = []
  for _ in range(steps):
    state, metrics = show_o_step(mesh)(state, None, next(batches))
    every.append(metrics)
  return state, jax.device_get(every)


@functools.cache
def first_state():
  """Step 0, on the host."""
  state = train.init_state(tiny.show_o, optim(), KEY, tiny.mesh(4, 2))
  return jax.device_get(state)


def start(mesh):
  state = first_state()
  return jax.device_put(state, sharding.shardings(state, mesh))


@pytest.fixture(scope='module')
def alone():
  """Metrics of two steps on one device."""
  return show_o_steps(start(tiny.mesh(1, 1)), 2, tiny.mesh(1, 1))[1]


@pytest.mark.parametrize('shape', [(8, 1), (4, 2), (2, 4), (1, 8)])
def test_every_mesh_trains_alike(alone, shape):
  mesh = tiny.mesh(*shape)
  _, found = show_o_steps(start(mesh), 2, mesh)
  for a, b in zip(found, alone, strict=True):
    for name in b:
      # Sums over devices are taken in another order.
      np.testing.assert_allclose(
          a[name], b[name], atol=1e-5, rtol=1e-5, err_msg=name
      )


def test_states_are_born_and_stay_where_the_rules_say():
  mesh = tiny.mesh(4, 2)
  state = train.init_state(tiny.show_o, optim(), KEY, mesh)
  wanted = sharding.shardings(state, mesh)
  later, _ = show_o_steps(start(mesh), 1, mesh)
  for each in state, later:
    same = jax.tree.map(
        lambda a, s: a.sharding.is_equivalent_to(s, a.ndim), each, wanted
    )
    assert all(jax.tree.leaves(same))


def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path):
  mesh = tiny.mesh(4, 2)
  wanted, wanted_metrics = show_o_steps(start(mesh), 4, mesh)
  half, _ = show_o_steps(start(mesh), 2, mesh)
  checkpoint.save(str(tmp_path / '2'), half, {})
  found = checkpoint.restore(
      str(tmp_path / '2'), half, sharding.shardings(half, mesh)
  )
  found, metrics = show_o_steps(found, 2, mesh)
  assert_same(found, wanted)
  assert metrics == wanted_metrics[2:]


def test_a_step_compiles_once():
  mesh = tiny.mesh(4, 2)
  show_o_steps(start(mesh), 3, mesh)
  assert show_o_step(mesh)._cache_size() == 1
