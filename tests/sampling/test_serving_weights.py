"""Models for sampling: the same model, read with fewer and cheaper reads."""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from hermesflow_jax.models import showo
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sampling import serving_weights
from hermesflow_jax.sequences import attention_mask


@pytest.fixture(scope='module')
def model():
  """A random model; biases are not zero."""
  model = tiny.show_o(jax.random.key(1))
  graph, state = nnx.split(model)
  leaves, tree = jax.tree.flatten(state)
  keys = jax.random.split(jax.random.key(2), len(leaves))
  leaves = [
    a + 0.1 * jax.random.normal(key, a.shape) for a, key in zip(leaves, keys)
  ]
  return nnx.merge(graph, jax.tree.unflatten(tree, leaves))


@jax.jit
def read(model, tokens):
  ar = jnp.ones(tokens.shape, jnp.int32)
  mask = [attention_mask.key_intervals(ar, ar == 1)]
  hidden, _ = model(tokens, mask, jnp.arange(tokens.shape[-1]))
  return hidden


TOKENS = np.arange(12).reshape(2, 6) % 11


def in_bfloat16(model):
  decoder = dataclasses.replace(model.config.decoder, dtype=jnp.bfloat16)
  config = dataclasses.replace(model.config, decoder=decoder)
  other = nnx.eval_shape(lambda: showo.ShowO(config, rngs=nnx.Rngs(0)))
  return nnx.merge(nnx.split(other)[0], nnx.split(model)[1])


def test_fused_products_are_the_same_but_for_rounding(model):
  actual = serving_weights.prepare_for_serving(
    model, tiny.mesh(1, 1), fused=True
  )
  np.testing.assert_allclose(
    read(actual, TOKENS), read(model, TOKENS), atol=1e-5
  )


def test_fused_blocks_have_two_products(model):
  def products(model):
    text = str(jax.make_jaxpr(read)(model, TOKENS))
    return text.count('dot_general')

  actual = serving_weights.prepare_for_serving(
    model, tiny.mesh(1, 1), fused=True
  )
  assert products(model) - products(actual) == 4


def test_the_model_stays_as_it_was(model):
  before = jax.tree.structure(model)
  serving_weights.prepare_for_serving(model, tiny.mesh(1, 1), fused=True)
  assert jax.tree.structure(model) == before


def test_what_needs_no_change_is_not_copied(model):
  mesh = tiny.mesh(1, 1)
  placed = jax.device_put(model, sharding.shardings(model, mesh))
  actual = serving_weights.prepare_for_serving(placed, mesh, fused=False)
  for old, new in zip(jax.tree.leaves(placed), jax.tree.leaves(actual)):
    assert old.unsafe_buffer_pointer() == new.unsafe_buffer_pointer()


def test_weights_are_kept_in_the_precision_they_are_used_in(model):
  model = in_bfloat16(model)
  actual = serving_weights.prepare_for_serving(
    model, tiny.mesh(1, 1), fused=False
  )
  for path, leaf in jax.tree_util.tree_leaves_with_path(actual):
    name = sharding.path_name(path)
    wide = 'layernorm' in name or name == 'head/bias'
    assert leaf.dtype == (jnp.float32 if wide else jnp.bfloat16)
  hidden = read(model, TOKENS)
  np.testing.assert_array_equal(read(actual, TOKENS), hidden)
  for head in (
    showo.ShowO.logits,
    lambda model, x: model.code_head()(x),
    lambda model, x: model.text_head()(x),
  ):
    np.testing.assert_array_equal(head(actual, hidden), head(model, hidden))


def test_a_lookup_keeps_the_table_as_small_as_it_is(model):
  """Sampling reads some rows of a bfloat16 table, and widens none of it."""
  actual = serving_weights.prepare_for_serving(
    in_bfloat16(model), tiny.mesh(1, 1), fused=False
  )
  table = actual.embed.embedding[...]
  assert table.dtype == jnp.bfloat16

  def steps(embed):
    return str(jax.make_jaxpr(lambda embed: embed(TOKENS))(embed))

  assert 'f32' not in steps(actual.embed)
  # Of a float32 table rows are cast, not the table.
  shape = ','.join(map(str, table.shape))
  text = steps(in_bfloat16(model).embed)
  assert f'f32[{shape}]' in text and f'bf16[{shape}]' not in text


def test_weights_are_whole_along_data_and_split_along_model(model):
  mesh = tiny.mesh(4, 2)
  placed = jax.device_put(model, sharding.shardings(model, mesh))
  actual = serving_weights.prepare_for_serving(placed, mesh)
  used = {
    axis
    for leaf in jax.tree.leaves(actual)
    for part in leaf.sharding.spec
    if part
    for axis in ((part,) if isinstance(part, str) else part)
  }
  assert used == {'model'}
  np.testing.assert_allclose(
    read(actual, TOKENS), read(model, TOKENS), atol=1e-5
  )
