"""Each array has one sharding rule, and every rule is needed."""

import re

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from hermesflow_jax.models import showo
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sequences import vocabulary

P = jax.sharding.PartitionSpec


def names_of(tree):
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {sharding.path_name(path): leaf for path, leaf in leaves}


@pytest.fixture(scope='module')
def model():
  """Shapes and names of the model."""
  return jax.eval_shape(tiny.show_o, jax.random.key(0))


@pytest.fixture(scope='module')
def official():
  """Shapes and names of Show-o at full size."""
  config = showo.ShowOConfig(vocabulary.Vocab(50_295, 8_192, 50_256))
  return jax.eval_shape(lambda: showo.ShowO(config, rngs=nnx.Rngs(0)))


def rule_of(name):
  return next(
    i
    for i, (pattern, _) in enumerate(sharding.RULES)
    if re.search(pattern, name)
  )


def test_every_rule_is_needed_and_every_large_array_has_one(model):
  hits = {name: rule_of(name) for name in names_of(model)}
  assert set(hits.values()) == set(range(len(sharding.RULES)))
  left = [name for name, i in hits.items() if i == len(sharding.RULES) - 1]
  small = r'(layernorm/(scale|bias)|(dense|fc2|head)/bias)$'
  assert all(re.search(small, name) for name in left), left


def test_rules_have_an_axis_for_each_dimension(model):
  for name, leaf in names_of(model).items():
    assert len(sharding.RULES[rule_of(name)][1]) <= leaf.ndim, name


def test_the_optimizer_lives_where_its_parameters_live(model):
  state = jax.eval_shape(optax.adamw(1e-3).init, model)
  mesh = tiny.mesh(2, 4)
  expected = names_of(sharding.shardings(model, mesh))
  result = names_of(sharding.shardings(state, mesh))
  for name, spec in expected.items():
    moments = [v for k, v in result.items() if k.endswith('/' + name)]
    assert moments == [spec, spec], name


@pytest.mark.parametrize('shape', [(4, 2), (2, 4), (8, 1), (1, 8)])
def test_show_o_is_split_evenly_over_every_mesh(official, shape):
  mesh = tiny.mesh(*shape)
  share = total = 0
  for name, leaf in names_of(official).items():
    spec = jax.sharding.NamedSharding(
      mesh, sharding.partition_spec(name, leaf.shape, mesh)
    )
    share += np.prod(spec.shard_shape(leaf.shape))
    total += leaf.size
  assert total > 1.3e9
  # Norms and some biases are whole everywhere.
  assert share < 1.01 * total / 8


def test_axes_that_do_not_divide_are_dropped():
  mesh = tiny.mesh(4, 2)
  spec = lambda *shape: sharding.partition_spec(
    'layers/fc1/kernel', shape, mesh
  )
  assert spec(3, 8, 8) == P(None, 'data', 'model')
  assert spec(3, 6, 8) == P(None, None, 'model')
  assert spec(3, 8, 7) == P(None, 'data')
  assert spec(3, 6, 7) == P()
  assert sharding.partition_spec('head/kernel', (8, 5), mesh) == P(
    ('data', 'model')
  )
  assert sharding.partition_spec('head/kernel', (4, 5), mesh) == P()


def test_scalars_and_strangers_are_whole_everywhere():
  mesh = tiny.mesh(4, 2)
  assert sharding.partition_spec('step', (), mesh) == P()
  assert (
    sharding.partition_spec('encoder/conv_in/kernel', (3, 3, 8, 8), mesh) == P()
  )


def test_batches_are_split_over_data_alone():
  rows = {'a': np.arange(24.0).reshape(8, 3), 'b': np.arange(8) > 3}
  batch = sharding.put_batch(rows, tiny.mesh(4, 2))
  jax.tree.map(np.testing.assert_array_equal, batch, rows)
  assert batch['a'].sharding.spec == P('data')
  shards = {s.device.id: s.data for s in batch['a'].addressable_shards}
  np.testing.assert_array_equal(shards[0], rows['a'][:2])
  np.testing.assert_array_equal(shards[1], rows['a'][:2])
  np.testing.assert_array_equal(shards[7], rows['a'][6:])


def test_replicated_is_whole_everywhere():
  mesh = tiny.mesh(4, 2)
  array = jax.device_put(jnp.arange(8), sharding.replicated(mesh))
  assert array.is_fully_replicated
  assert len(array.addressable_shards) == 8


def test_the_residual_stream_is_split_only_where_a_mesh_is_set():
  def is_split(x):
    # A new function each time: traces are cached.
    jaxpr = jax.make_jaxpr(lambda x: sharding.constrain(x))(x)
    return 'sharding_constraint' in str(jaxpr)

  x = jnp.zeros((8, 4, 2))
  assert not is_split(x)
  with jax.set_mesh(tiny.mesh(8, 1)):
    assert is_split(x)
    assert not is_split(x[:3])
    assert not is_split(x[0])
