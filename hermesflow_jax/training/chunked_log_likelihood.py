"""Token log-probabilities in chunks, so that few logits are in memory."""

import functools

import jax
import jax.numpy as jnp

from hermesflow_jax.runtime import sharding
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.training import log_likelihood


def chunk_count(count: int, chunk_size: int) -> int:
  """Returns the number of chunks that hold `count` labels.

  `chunked_logps` skips chunks in which no label is scored.
  """
  return -(-count // chunk_size)


def chunked_logps(
  model, states: jax.Array, labels: jax.Array, chunk_size: int
) -> jax.Array:
  """Scores labels in chunks.

  Each device moves its scored positions to the front and leaves out chunks
  without labels. The backward pass recomputes the logits chunk by chunk.

  Args:
    model: a ShowO.
    states: float[B, R, D], hidden states.
    labels: int32[B, R], tokens that the states predict; -100 for unscored
      positions.
    chunk_size: C, labels of a record whose logits are in memory at once:
      float32[B, C, V].

  Returns:
    float32[B, R], 0 at unscored positions.
  """
  chunks = chunk_count(labels.shape[1], chunk_size)

  def chunked(head, states, labels):
    shape, labels = labels.shape, labels.reshape(-1)
    size = -(-labels.size // chunks)
    padding = (0, chunks * size - labels.size)
    order = jnp.argsort(labels == token_rows.UNSCORED, stable=True)
    places = jnp.argsort(order)
    states = _permuted(states.reshape(labels.size, -1), order, places)
    logps = _in_chunks(
      size,
      head,
      jnp.pad(states, (padding, (0, 0))),
      jnp.pad(
        jnp.take(labels, order), padding, constant_values=token_rows.UNSCORED
      ),
    )
    return logps[places].reshape(shape)

  # Each device sums the gradient of the head over its own chunks. Otherwise the
  # compiler sums it over all devices after every chunk.
  return sharding.map_over_data(
    chunked if chunks > 1 else jax.checkpoint(_scored),
    model.head,
    states,
    labels,
  )


def _scored(head, states, labels):
  return log_likelihood.token_logps(head(states), labels)


# Its loops have a number of trips that is known only at run time, so JAX cannot
# differentiate them. (A `cond` in a `scan` would compute and add the gradient
# of the head, as large as the head, for empty chunks as well.)
@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _in_chunks(size, head, states, labels):
  """Scores positions [R], the labeled positions first.

  Args:
    size: positions per chunk; R is a multiple of it.
    head: function from states to logits.
    states: float[R, D].
    labels: int32[R].

  Returns:
    float32[R].
  """

  def score(n, logps):
    chunk = _scored(head, _chunk(states, n, size), _chunk(labels, n, size))
    return _put(logps, chunk, n, size)

  return jax.lax.fori_loop(
    0, _trips(size, labels), score, jnp.zeros(labels.shape, jnp.float32)
  )


def _in_chunks_forward(size, head, states, labels):
  return _in_chunks(size, head, states, labels), (head, states, labels)


def _in_chunks_backward(size, kept, gradient):
  head, states, labels = kept

  def add(n, sums):
    head_sum, state_gradients = sums
    chunk_labels = _chunk(labels, n, size)
    _, back = jax.vjp(
      lambda head, states: _scored(head, states, chunk_labels),
      head,
      _chunk(states, n, size),
    )
    head_part, state_part = back(_chunk(gradient, n, size))
    return (
      jax.tree.map(jnp.add, head_sum, head_part),
      _put(state_gradients, state_part, n, size),
    )

  zeros = jax.tree.map(jnp.zeros_like, (head, states))
  return *jax.lax.fori_loop(0, _trips(size, labels), add, zeros), None


_in_chunks.defvjp(_in_chunks_forward, _in_chunks_backward)


def _trips(size, labels):
  """Returns the number of chunks to score, int32[].

  It is the maximum over the mesh axis `data`: if the head is split over the
  vocabulary, devices communicate in each chunk, so all must run as many chunks.
  This costs no time, as the devices wait for each other in each step anyway.
  """
  count = (labels != token_rows.UNSCORED).sum()
  if 'data' in jax.sharding.get_abstract_mesh().manual_axes:
    count = jax.lax.pmax(count, 'data')
  return -(-count // size)


def _chunk(values, n, size):
  """Returns chunk `n` of values [R, ...]."""
  return jax.lax.dynamic_slice_in_dim(values, n * size, size)


def _put(values, new, n, size):
  return jax.lax.dynamic_update_slice_in_dim(values, new, n * size, 0)


@jax.custom_vjp
def _permuted(values, order, places):
  """Returns values[order]; its gradient is a gather instead of a scatter.

  Args:
    values: float[R, D].
    order: int32[R], a permutation.
    places: int32[R], its inverse.
  """
  del places
  return values[order]


def _permuted_forward(values, order, places):
  return _permuted(values, order, places), places


def _permuted_backward(places, gradient):
  return gradient[places], None, None


_permuted.defvjp(_permuted_forward, _permuted_backward)
