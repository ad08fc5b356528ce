"""Token log-probabilities in plain rows: a text and at most one image per row.

Pretraining and the official defects score these rows. Default Pair-DPO
training scores packed rows instead, see `pair_dpo.pair_log_likelihood`.

In t2i rows, logits predict the token at their own position; in mmu and lm rows,
the next token. The output head runs only at positions that may have labels.
"""

import jax
import jax.numpy as jnp

from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import token_rows


def hidden_states(model, tokens: jax.Array, rows: token_rows.Rows):
  """Returns hidden states under the omni-attention mask.

  Args:
    model: a ShowO.
    tokens: int32[..., T], replaces `rows.tokens`.
    rows: rows [..., T], from which the mask is computed.

  Returns:
    float[..., T, D].
  """
  mask = attention_mask.mask_matrix(rows.ar, rows.valid)
  hidden, _ = model(tokens, mask, jnp.arange(tokens.shape[-1]))
  return hidden


def image_logps(model, rows: token_rows.Rows, masked: jax.Array):
  """Scores masked codes in t2i rows.

  Args:
    model: a ShowO.
    rows: t2i rows [..., T] from `text_to_image.t2i_rows`.
    masked: bool[..., I], codes to mask; its leading axes broadcast against
      those in `rows`, so winner and loser can share a mask.

  Returns:
    (logps float32[..., I + 2], labels int32[..., I + 2]) for <|soi|>, the codes
    and <|eoi|>; 0 and -100 at unscored positions.
  """
  vocab = model.config.vocab
  begin = rows.tokens.shape[-1] - masked.shape[-1] - 2
  tokens, labels = mask_schedules.apply_mask(
    vocab, rows.tokens, rows.labels, masked, begin + 1
  )
  hidden = hidden_states(model, tokens, rows)[..., begin:, :]
  labels = labels[..., begin:]
  return token_logps(model.logits(hidden), labels), labels


def text_logps(model, rows: token_rows.Rows, window: int):
  """Scores labeled tokens in mmu or lm rows.

  Args:
    model: a ShowO.
    rows: rows [..., T] from `image_to_text.mmu_rows` or `token_rows.lm_rows`,
      with contiguous labels.
    window: maximum number of labels in a row, and the number of positions at
      which the head runs.

  Returns:
    (logps float32[..., window], labels int32[..., window]), starting at
    each row's first label.
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
  """Returns the mean negative log-probability over scored tokens.

  Args:
    logps: float32[..., T], see `token_logps`.
    labels: int[..., T].

  Returns:
    float32[], nats per token.
  """
  return -logps.sum() / jnp.maximum(label_counts(labels).sum(), 1)


def next_labels(labels: jax.Array) -> jax.Array:
  """Moves labels to the tokens that predict them, for mmu and lm rows.

  Args:
    labels: int[..., T], at the predicted tokens.

  Returns:
    int[..., T], a position earlier; the last is -100.
  """
  last = jnp.full_like(labels[..., :1], token_rows.UNSCORED)
  return jnp.concatenate([labels[..., 1:], last], axis=-1)


def token_logps(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns each label's log-probability over the whole vocabulary.

  Args:
    logits: float[..., T, V].
    labels: int[..., T], the token that logits[..., t, :] predict; -100 for
      unscored positions.

  Returns:
    float32[..., T], 0 at unscored positions.
  """
  logits = logits.astype(jnp.float32)
  scored = labels != token_rows.UNSCORED
  index = jnp.where(scored, labels, 0)
  chosen = jnp.take_along_axis(logits, index[..., None], axis=-1)[..., 0]
  logps = chosen - jax.nn.logsumexp(logits, axis=-1)
  return jnp.where(scored, logps, 0.0)


def sequence_logps(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns float32[...], the sum of `token_logps` over each row."""
  return token_logps(logits, labels).sum(-1)


def label_counts(labels: jax.Array) -> jax.Array:
  """Returns int32[...], the number of scored labels in each row [..., T]."""
  return (labels != token_rows.UNSCORED).sum(-1)
