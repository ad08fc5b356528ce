"""Log-likelihoods of labels whose logits are computed in chunks."""

import functools

import jax
import jax.numpy as jnp

from hermesflow_jax.runtime import sharding
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.training import log_likelihood


def chunk_count(count: int, rows: int) -> int:
  """Returns in how many chunks `chunked_logps` scores so many labels at most."""
  return -(-count // rows)


def chunked_logps(model, states: jax.Array, labels: jax.Array, rows: int):
  """Scores labels in chunks, so that few logits are ever in memory.

  Of what a device has, labels come first, and chunks without any are left out.
  The backward pass computes each chunk's logits again.

  Args:
    model: a ShowO.
    states: float[B, R, D], hidden states.
    labels: int32[B, R], what each predicts; -100 is not scored.
    rows: of R, whose logits are there at once: float32[B, rows, V].

  Returns:
    float32[B, R], 0 where nothing is scored.
  """
  chunks = chunk_count(labels.shape[1], rows)

  def chunked(head, states, labels):
    shape, labels = labels.shape, labels.reshape(-1)
    each = -(-labels.size // chunks)
    room = (0, chunks * each - labels.size)
    order = jnp.argsort(labels == token_rows.UNSCORED, stable=True)
    places = jnp.argsort(order)
    states = _permuted(states.reshape(labels.size, -1), order, places)
    found = _in_chunks(
      each,
      head,
      jnp.pad(states, (room, (0, 0))),
      jnp.pad(
        jnp.take(labels, order), room, constant_values=token_rows.UNSCORED
      ),
    )
    return found[places].reshape(shape)

  # Each device adds up the gradient of the head over its own chunks. Left
  # alone, the compiler adds it up over all devices after every chunk.
  return sharding.map_over_data(
    chunked if chunks > 1 else jax.checkpoint(_scored),
    model.head,
    states,
    labels,
  )


def _scored(head, states, labels):
  return log_likelihood.token_logps(head(states), labels)


# The turns of its loops are known when it runs, so the gradient of one is
# another. (A `cond` in a `scan` would make and add the head's gradient, as
# large as the head, also of chunks that are left out.)
@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _in_chunks(each, head, states, labels):
  """Scores rows [R, D] that begin with all that have labels.

  Args:
    each: rows at once; R is a multiple of it.
    head: from states to logits.
    states: float[R, D].
    labels: int32[R].

  Returns:
    float32[R].
  """

  def score(n, found):
    chunk = _scored(head, _chunk(states, n, each), _chunk(labels, n, each))
    return _put(found, chunk, n, each)

  return jax.lax.fori_loop(
    0, _turns(each, labels), score, jnp.zeros(labels.shape, jnp.float32)
  )


def _in_chunks_forward(each, head, states, labels):
  return _in_chunks(each, head, states, labels), (head, states, labels)


def _in_chunks_backward(each, kept, gradient):
  head, states, labels = kept

  def add(n, sums):
    of_head, of_states = sums
    mine = _chunk(labels, n, each)
    _, back = jax.vjp(
      lambda head, states: _scored(head, states, mine),
      head,
      _chunk(states, n, each),
    )
    more, here = back(_chunk(gradient, n, each))
    return jax.tree.map(jnp.add, of_head, more), _put(of_states, here, n, each)

  zeros = jax.tree.map(jnp.zeros_like, (head, states))
  return *jax.lax.fori_loop(0, _turns(each, labels), add, zeros), None


_in_chunks.defvjp(_in_chunks_forward, _in_chunks_backward)


def _turns(each, labels):
  """int32[], chunks that have labels; of devices side by side the most.

  They wait for each other anyway, and may share out each chunk's words.
  """
  count = (labels != token_rows.UNSCORED).sum()
  if 'data' in jax.sharding.get_abstract_mesh().manual_axes:
    count = jax.lax.pmax(count, 'data')
  return -(-count // each)


def _chunk(values, n, each):
  """The chunk n of so many rows each."""
  return jax.lax.dynamic_slice_in_dim(values, n * each, each)


def _put(values, new, n, each):
  return jax.lax.dynamic_update_slice_in_dim(values, new, n * each, 0)


@jax.custom_vjp
def _permuted(values, order, places):
  """values[order]; its gradient is gathered, too, where it would be scattered.

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
