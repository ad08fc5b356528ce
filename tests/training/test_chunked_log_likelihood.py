"""Labels are scored in chunks: as whole logits would, and nothing in vain."""

import functools
import types

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from hermesflow_jax.runtime import sharding
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.training import chunked_log_likelihood
from hermesflow_jax.training import log_likelihood

WIDTH = 16
P = jax.sharding.PartitionSpec


@pytest.fixture(scope='module')
def model():
  return tiny.show_o(jax.random.key(0))


def states_and_labels(count, labelled, records=2):
  """States, and labels of which some stand anywhere among others."""
  rng = np.random.default_rng(1)
  states = rng.normal(size=(records, count, WIDTH)).astype(np.float32)
  labels = np.full((records, count), token_rows.UNSCORED)
  for row, number in zip(labels, labelled, strict=True):
    places = rng.permutation(count)[:number]
    row[places] = rng.integers(0, tiny.vocab().size, number)
  return states, labels


def of_whole_logits(model, states, labels):
  return log_likelihood.token_logps(model.logits(states), labels)


@pytest.mark.parametrize('chunk_size', [1, 2, 4, 5, 9, 100])
@pytest.mark.parametrize('labelled', [(9, 9), (3, 7), (0, 1), (0, 0)])
def test_chunks_score_as_whole_logits_do(model, chunk_size, labelled):
  """In value and gradient."""
  states, labels = states_and_labels(9, labelled)
  weights = np.random.default_rng(2).normal(size=labels.shape)

  actual, expected = (
    scores_and_gradient(size, model, states, labels, weights)
    for size in (chunk_size, None)
  )
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, atol=2e-5), actual, expected
  )


@functools.partial(jax.jit, static_argnums=0)
def scores_and_gradient(chunk_size, model, states, labels, weights):
  """Of chunks, or of whole logits (None)."""

  def value(model, states):
    if chunk_size is None:
      actual = of_whole_logits(model, states, labels)
    else:
      actual = chunked_log_likelihood.chunked_logps(
        model, states, labels, chunk_size
      )
    return (weights * actual).sum(), actual

  return jax.grad(value, (0, 1), has_aux=True)(model, states)


@pytest.mark.parametrize(
  'chunk_size, labelled, trips',
  [
    # Of 4 rows of two records: what counts is how many labels these have.
    (4, (16, 16), 4),
    (4, (3, 7), 2),
    (4, (8, 0), 1),
    (4, (0, 0), 0),
    (5, (1, 0), 1),
    (16, (1, 0), 1),
  ],
)
def test_the_head_runs_where_something_is_scored(chunk_size, labelled, trips):
  calls = []
  kernel = np.zeros((WIDTH, 8), np.float32)

  def head(states):
    jax.debug.callback(lambda: calls.append(1))
    return states @ kernel

  states, labels = states_and_labels(16, labelled)
  model = types.SimpleNamespace(head=jax.tree_util.Partial(head))
  jax.block_until_ready(
    chunked_log_likelihood.chunked_logps(
      model, states, np.minimum(labels, 7), chunk_size
    )
  )
  jax.effects_barrier()
  assert len(calls) == trips


@pytest.mark.parametrize('shape', [(8, 1), (4, 2)])
def test_devices_leave_out_chunks_each_for_itself(model, shape):
  """Their records have different numbers of labels; also the gradients."""
  mesh = tiny.mesh(*shape)
  states, labels = states_and_labels(16, range(0, 16, 2), records=8)
  weights = np.random.default_rng(2).normal(size=labels.shape)

  def both(score):
    def value(model, states, labels):
      actual = score(model, states, labels)
      return (weights * actual).sum(), actual

    return jax.jit(jax.grad(value, (0, 1), has_aux=True))

  def ours(model, states, labels):
    with sharding.use_mesh(mesh):
      return chunked_log_likelihood.chunked_logps(model, states, labels, 4)

  rows = jax.NamedSharding(mesh, P('data'))
  actual = both(ours)(
    jax.device_put(model, sharding.shardings(model, mesh)),
    jax.device_put(states, rows),
    jax.device_put(jnp.asarray(labels), rows),
  )
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, atol=2e-5),
    actual,
    both(of_whole_logits)(model, states, labels),
  )


class Headed(nnx.Module):
  """A head over many words."""

  def __init__(self):
    self.head = nnx.Linear(WIDTH, 2048, rngs=nnx.Rngs(0))


def test_no_logits_of_all_labels_are_ever_in_memory():
  """Neither forward nor backward: by what the compiler sets aside."""
  rng = np.random.default_rng(0)
  count, rows = 512, 8
  states = rng.normal(size=(1, count, 16)).astype(np.float32)
  labels = rng.integers(0, 16, (1, count))

  def value(model, states, rows):
    return chunked_log_likelihood.chunked_logps(
      model, states, labels, rows
    ).sum()

  def temporary(rows):
    grad = jax.jit(jax.grad(value, (0, 1)), static_argnums=2)
    compiled = grad.lower(model, states, rows).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  model, whole = Headed(), count * 2048 * 4
  assert temporary(count) > whole
  assert temporary(rows) < whole / 4
