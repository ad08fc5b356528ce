"""Adapters: what they add, what learns, and that merging changes nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_pairs

from hermesflow_jax.models import lora
from hermesflow_jax.training import adamw
from hermesflow_jax.training import train_step

CONFIG = lora.Lora(3, 6.0, lora.TARGETS)
TOKENS = jnp.arange(12)[None]


@pytest.fixture(scope='module')
def model():
  return tiny.show_o(jax.random.key(0))


@pytest.fixture(scope='module')
def adapters(model):
  """Adapters that change something."""
  actual = lora.init_adapters(model, CONFIG, jax.random.key(1))
  return jax.tree.map(lambda a: a + 0.1, actual)


@functools.partial(jax.jit)
def states(model):
  size = TOKENS.shape[1]
  mask = jnp.tril(jnp.ones((1, size, size), bool))
  return model(TOKENS, mask, jnp.arange(size)[None])[0]


def test_new_adapters_change_nothing(model):
  fresh = lora.init_adapters(model, CONFIG, jax.random.key(1))
  np.testing.assert_array_equal(
    states(lora.with_adapters(model, fresh, CONFIG)), states(model)
  )
  assert all(np.any(item['a']) for item in fresh.values())


def test_a_layer_adds_its_adapter(model, adapters):
  layer = jax.tree.map(
    lambda a: a[1],
    lora.with_adapters(model, adapters, CONFIG).decoder.layers.fc1,
  )
  x = jnp.linspace(-1, 1, 16)[None]
  a, b = (adapters['fc1'][name][1] for name in 'ab')
  expected = layer.linear(x) + 2.0 * x @ a @ b
  np.testing.assert_allclose(layer(x), expected, rtol=1e-5)


def test_the_gradient_of_a_layer_is_the_one_computed_by_hand(model, adapters):
  """Of sum(c y) with y = x W + s x a b: s x' c b' for a, s (x a)' c for b."""
  layers = lora.with_adapters(model, adapters, CONFIG).decoder.layers.fc1
  layer = jax.tree.map(lambda a: a[1], layers)
  x = jnp.linspace(-1, 1, 3 * 16).reshape(3, 16)
  c = jnp.cos(jnp.arange(layer(x).size, dtype=jnp.float32)).reshape(3, -1)
  slope = jax.jit(jax.grad(lambda layer: (c * layer(x)).sum()))(layer)
  a, b = (adapters['fc1'][name][1] for name in 'ab')
  np.testing.assert_allclose(slope.a, 2.0 * x.T @ c @ b.T, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(slope.b, 2.0 * (x @ a).T @ c, rtol=1e-4, atol=1e-5)


def test_merged_weights_are_the_same_model(model, adapters):
  actual = states(lora.merge_adapters(model, adapters, CONFIG))
  np.testing.assert_allclose(
    actual, states(lora.with_adapters(model, adapters, CONFIG)), atol=1e-5
  )
  assert np.abs(actual - states(model)).max() > 0.1


def test_only_adapters_have_a_gradient_and_the_model_is_left_alone(
  model, adapters
):
  def value(model, adapters):
    return (states(lora.with_adapters(model, adapters, CONFIG)) ** 2).sum()

  before = jax.tree.map(np.array, jax.tree.leaves(model))
  of_model, of_adapters = jax.jit(jax.grad(value, (0, 1)))(model, adapters)
  assert not any(np.any(leaf) for leaf in jax.tree.leaves(of_model))
  assert all(np.any(leaf) for leaf in jax.tree.leaves(of_adapters))
  lora.merge_adapters(model, adapters, CONFIG)
  for a, b in zip(jax.tree.leaves(model), before):
    np.testing.assert_array_equal(a, b)


def test_the_gradient_is_that_of_the_merged_kernel(model, adapters):
  """d/da = scale d/dW b', d/db = scale a' d/dW."""

  def value(model):
    return (states(model) ** 2).sum()

  actual = jax.jit(
    jax.grad(lambda a: value(lora.with_adapters(model, a, CONFIG)))
  )(adapters)
  whole = lora.merge_adapters(model, adapters, CONFIG)
  slope = jax.jit(jax.grad(value))(whole).decoder.layers.dense.kernel[...]
  a, b = adapters['dense']['a'], adapters['dense']['b']
  np.testing.assert_allclose(
    actual['dense']['a'],
    2.0 * slope @ jnp.swapaxes(b, 1, 2),
    rtol=1e-3,
    atol=1e-3,
  )
  np.testing.assert_allclose(
    actual['dense']['b'],
    2.0 * jnp.swapaxes(a, 1, 2) @ slope,
    rtol=1e-3,
    atol=1e-3,
  )


def test_a_step_keeps_state_for_adapters_alone(model):
  """And the frozen model is the reference: the first loss is log 2."""
  mesh = tiny.mesh(4, 2)
  optim = adamw.AdamWConfig(lr=1e-2, steps=4, warmup=0.0)

  def loss(adapters, frozen, batch, key):
    policy = lora.with_adapters(frozen, adapters, CONFIG)
    return tiny_pairs.LOSS(policy, frozen, batch, key)

  fresh = lora.init_adapters(model, CONFIG, jax.random.key(1))
  state = train_step.state_from_model(fresh, optim, mesh)
  moments = [leaf.shape for leaf in jax.tree.leaves(state.opt_state)]
  assert sum(map(np.prod, moments)) < 0.5 * sum(
    leaf.size for leaf in jax.tree.leaves(model)
  )
  step = train_step.make_step(
    loss, optim, tiny_pairs.KEY, mesh, tiny_pairs.PREPARE
  )
  batch = tiny_pairs.batch_of(*tiny_pairs.RECORDS)
  state, first = step(state, model, batch)
  np.testing.assert_allclose(
    [first['und/loss'], first['gen/loss']], np.log(2), rtol=1e-5
  )
  for _ in range(3):
    state, last = step(state, model, batch)
  assert last['train/loss'] < first['train/loss']


@pytest.mark.parametrize(
  'changes, output',
  [
    ({'rank': -1}, 'rank must be at least 0, got -1'),
    ({'alpha': 0.0}, 'alpha must be more than 0, got 0.0'),
    ({'targets': ()}, 'targets must be'),
    ({'targets': ('head',)}, r'targets\[0\] must be'),
  ],
)
def test_what_makes_no_sense_is_refused(changes, output):
  with pytest.raises(ValueError, match=output):
    lora.Lora(**{'rank': 1, 'alpha': 1.0, 'targets': ('dense',)} | changes)
