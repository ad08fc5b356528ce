"""Token log-probabilities of training rows under a model.

The one place that knows which rows are scored in place (t2i) and which by the
token before (mmu, lm), and that the head need not run where nothing is scored.
"""

import functools

import jax
import jax.numpy as jnp

from hermesflow_jax import masking
from hermesflow_jax import masks
from hermesflow_jax import pair_dpo
from hermesflow_jax import prompting
from hermesflow_jax import sharding


def _hidden(model, tokens, rows):
  mask = masks.visible(rows.ar, rows.valid)
  hidden, _ = model(tokens, mask, jnp.arange(tokens.shape[-1]))
  return hidden


def of_images(model, rows: prompting.Rows, hidden_codes: jax.Array):
  """Scores the masked codes of t2i rows.

  Args:
    model: a ShowO.
    rows: t2i rows [..., T] of `prompting.t2i_rows`.
    hidden_codes: bool[..., I], the codes to mask; its leading axes broadcast
      against those of the rows, so win and lose can share one mask.

  Returns:
    (logps float32[..., I + 2], labels int32[..., I + 2]) of <|soi|>, the codes
    and <|eoi|>; 0 and -100 where nothing is scored.
  """
  vocab = model.config.vocab
  begin = rows.tokens.shape[-1] - hidden_codes.shape[-1] - 2
  tokens, labels = masking.apply(
    vocab, rows.tokens, rows.labels, hidden_codes, begin + 1
  )
  hidden = _hidden(model, tokens, rows)[..., begin:, :]
  labels = labels[..., begin:]
  return pair_dpo.token_logps(model.logits(hidden), labels), labels


def of_images_as_text(model, rows: prompting.Rows, hidden_codes: jax.Array):
  """Scores t2i rows as if each token predicted the next (official defect 1).

  Arguments as in `of_images`.

  Returns:
    float32[...], summed over each row, text included.
  """
  begin = rows.tokens.shape[-1] - hidden_codes.shape[-1] - 2
  tokens, labels = masking.apply(
    model.config.vocab, rows.tokens, rows.labels, hidden_codes, begin + 1
  )
  before = jnp.cumsum(rows.labels != prompting.UNSCORED, axis=-1) == 0
  labels = jnp.where(before & rows.valid, rows.tokens, labels)
  logits = model.logits(_hidden(model, tokens, rows))
  return pair_dpo.sequence_logps(logits, pair_dpo.next_labels(labels))


def of_text(model, rows: prompting.Rows, window: int):
  """Scores the labelled tokens of mmu or lm rows.

  Args:
    model: a ShowO.
    rows: rows [..., T] of `prompting.mmu_rows` or `lm_rows`; the labels of
      each are contiguous.
    window: the most labels of a row. The head runs at these positions only.

  Returns:
    (logps float32[..., window], labels int32[..., window]), from the first
    label of each row on.
  """
  labels = pair_dpo.next_labels(rows.labels)
  first = jnp.argmax(labels != prompting.UNSCORED, axis=-1)
  index = first[..., None] + jnp.arange(window)
  inside = index < labels.shape[-1]
  index = jnp.minimum(index, labels.shape[-1] - 1)
  labels = jnp.take_along_axis(labels, index, axis=-1)
  labels = jnp.where(inside, labels, prompting.UNSCORED)
  hidden = _hidden(model, rows.tokens, rows)
  hidden = jnp.take_along_axis(hidden, index[..., None], axis=-2)
  return pair_dpo.token_logps(model.logits(hidden), labels), labels


def chunks_of(count: int, rows: int) -> int:
  """Returns in how many chunks `of_labels` scores so many labels at most."""
  return -(-count // rows)


def of_labels(model, states: jax.Array, labels: jax.Array, rows: int):
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
  chunks = chunks_of(labels.shape[1], rows)

  def chunked(head, states, labels):
    shape, labels = labels.shape, labels.reshape(-1)
    each = -(-labels.size // chunks)
    room = (0, chunks * each - labels.size)
    order = jnp.argsort(labels == pair_dpo.UNSCORED, stable=True)
    places = jnp.argsort(order)
    states = _permuted(states.reshape(labels.size, -1), order, places)
    found = _in_chunks(
      each,
      head,
      jnp.pad(states, (room, (0, 0))),
      jnp.pad(jnp.take(labels, order), room, constant_values=pair_dpo.UNSCORED),
    )
    return found[places].reshape(shape)

  # Each device adds up the gradient of the head over its own chunks. Left
  # alone, the compiler adds it up over all devices after every chunk.
  return sharding.by_rows(
    chunked if chunks > 1 else jax.checkpoint(_scored),
    model.head,
    states,
    labels,
  )


def _scored(head, states, labels):
  return pair_dpo.token_logps(head(states), labels)


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
  count = (labels != pair_dpo.UNSCORED).sum()
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


def mean_nll(logps: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns the mean negative log-probability over all scored tokens."""
  return -logps.sum() / jnp.maximum(pair_dpo.label_counts(labels).sum(), 1)
