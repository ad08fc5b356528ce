"""Token log-probabilities of training rows under a model.

The one place that knows which rows are scored in place (t2i) and which by the
token before (mmu, lm), and that the head need not run where nothing is scored.
"""

import jax
import jax.numpy as jnp

from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import token_rows


def hidden_states(model, tokens, rows):
  mask = attention_mask.mask_matrix(rows.ar, rows.valid)
  hidden, _ = model(tokens, mask, jnp.arange(tokens.shape[-1]))
  return hidden


def image_logps(model, rows: token_rows.Rows, hidden_codes: jax.Array):
  """Scores the masked codes of t2i rows.

  Args:
    model: a ShowO.
    rows: t2i rows [..., T] of `token_rows.t2i_rows`.
    hidden_codes: bool[..., I], the codes to mask; its leading axes broadcast
      against those of the rows, so win and lose can share one mask.

  Returns:
    (logps float32[..., I + 2], labels int32[..., I + 2]) of <|soi|>, the codes
    and <|eoi|>; 0 and -100 where nothing is scored.
  """
  vocab = model.config.vocab
  begin = rows.tokens.shape[-1] - hidden_codes.shape[-1] - 2
  tokens, labels = mask_schedules.apply_mask(
    vocab, rows.tokens, rows.labels, hidden_codes, begin + 1
  )
  hidden = hidden_states(model, tokens, rows)[..., begin:, :]
  labels = labels[..., begin:]
  return token_logps(model.logits(hidden), labels), labels


def text_logps(model, rows: token_rows.Rows, window: int):
  """Scores the labelled tokens of mmu or lm rows.

  Args:
    model: a ShowO.
    rows: rows [..., T] of `image_to_text.mmu_rows` or `lm_rows`; the labels of
      each are contiguous.
    window: the most labels of a row. The head runs at these positions only.

  Returns:
    (logps float32[..., window], labels int32[..., window]), from the first
    label of each row on.
  """
  labels = next_labels(rows.labels)
  first = jnp.argmax(labels != token_rows.UNSCORED, axis=-1)
  index = first[..., None] + jnp.arange(window)
  inside = index < labels.shape[-1]
  index = jnp.minimum(index, labels.shape[-1] - 1)
  labels = jnp.take_along_axis(labels, index, axis=-1)
  labels = jnp.where(inside, labels, token_rows.UNSCORED)
  hidden = hidden_states(model, rows.tokens, rows)
  hidden = jnp.take_along_axis(hidden, index[..., None], axis=-2)
  return token_logps(model.logits(hidden), labels), labels


def mean_nll(logps: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns the mean negative log-probability over all scored tokens."""
  return -logps.sum() / jnp.maximum(label_counts(labels).sum(), 1)


def next_labels(labels: jax.Array) -> jax.Array:
  """Moves labels to the tokens that predict them, for mmu and lm rows.

  Args:
    labels: int[..., T], each at the position of the token it names.

  Returns:
    int[..., T], each one position earlier; the last is -100.
  """
  last = jnp.full_like(labels[..., :1], token_rows.UNSCORED)
  return jnp.concatenate([labels[..., 1:], last], axis=-1)


def token_logps(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns the log-probability of each label over the whole vocabulary.

  Args:
    logits: float[..., T, V].
    labels: int[..., T], what logits[..., t, :] should predict; -100 is not
      scored.

  Returns:
    float32[..., T], 0 where nothing is scored.
  """
  logits = logits.astype(jnp.float32)
  scored = labels != token_rows.UNSCORED
  index = jnp.where(scored, labels, 0)
  chosen = jnp.take_along_axis(logits, index[..., None], axis=-1)[..., 0]
  logps = chosen - jax.nn.logsumexp(logits, axis=-1)
  return jnp.where(scored, logps, 0.0)


def sequence_logps(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns float32[...], `token_logps` summed over each row."""
  return token_logps(logits, labels).sum(-1)


def label_counts(labels: jax.Array) -> jax.Array:
  """Returns int32[...], the scored tokens of each row of int[..., T]."""
  return (labels != token_rows.UNSCORED).sum(-1)
