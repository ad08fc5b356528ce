"""Loss of training on images given text, text given images, and text alone.

As `pretraining.loss`, for large vocabularies and long rows: logits are computed
in chunks, attention needs no T x T mask, and the loss adds up over parts of a
batch.
"""

import jax
import jax.numpy as jnp

from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.training import chunked_log_likelihood
from hermesflow_jax.training import log_likelihood


def prepare_batch(
  batch: dict[str, token_rows.Rows],
  key: jax.Array,
  *,
  vocab,
  image_tokens: int,
  schedule: mask_schedules.Schedule,
) -> dict:
  """Masks codes, and computes row weights for means over tokens.

  It takes the whole batch before `adamw.accumulate` splits it.

  Args:
    batch: 't2i', 'mmu' and 'lm' Rows [B, T]; B and T depend on the task.
    key: random key for this step.
    vocab: token ids.
    image_tokens: I, codes per image.
    schedule: mask schedule.

  Returns:
    {task: (Rows [B, T], float32[B])}; the weight of each row is the inverse
    number of the task's labels.
  """
  rows = dict(batch)
  keys = jax.random.split(key, rows['t2i'].tokens.shape[0])
  masked = jax.vmap(
    lambda k: mask_schedules.draw_mask(k, image_tokens, schedule)
  )(keys)
  tokens, labels = mask_schedules.apply_mask(
    vocab,
    rows['t2i'].tokens,
    rows['t2i'].labels,
    masked,
    rows['t2i'].tokens.shape[1] - image_tokens - 1,
  )
  rows['t2i'] = token_rows.Rows(
    tokens, labels, rows['t2i'].ar, rows['t2i'].valid
  )
  for task in ('mmu', 'lm'):
    row = rows[task]
    labels = log_likelihood.next_labels(row.labels)
    rows[task] = token_rows.Rows(row.tokens, labels, row.ar, row.valid)
  return {task: (row, _weights(row.labels)) for task, row in rows.items()}


def _weights(labels):
  """Returns float32[B], the inverse number of labels of all rows."""
  count = jnp.maximum(log_likelihood.label_counts(labels).sum(), 1)
  return jnp.full(labels.shape[0], 1.0 / count, jnp.float32)


def loss(
  model,
  constants,
  batch: dict,
  key=None,
  *,
  weights: tuple[tuple[str, float], ...],
  image_tokens: int,
  chunk_size: int,
):
  """Returns the weighted loss, and the mean loss over tokens by task.

  Args:
    model: a ShowO.
    constants: unused.
    batch: batch from `prepare_batch`, or a part of it.
    key: unused.
    weights: loss weight of each task.
    image_tokens: I, codes per image.
    chunk_size: labels of a row whose logits are in memory at once.

  Returns:
    (float32[], {'loss/t2i', 'loss/mmu', 'loss/lm': float32[]}), nats per token.
  """
  del constants, key
  # Positions before the first that can have a label.
  starts = {
    't2i': batch['t2i'][0].tokens.shape[1] - image_tokens - 2,
    'mmu': image_tokens + 2,
    'lm': 0,
  }
  losses = {}
  for task, start in starts.items():
    rows, shares = batch[task]
    hidden, _ = model(
      rows.tokens,
      packed_mask(rows, task, image_tokens),
      jnp.arange(rows.tokens.shape[1]),
    )
    logps = chunked_log_likelihood.chunked_logps(
      model, hidden[:, start:], rows.labels[:, start:], chunk_size
    )
    losses[task] = -(logps.sum(-1) * shares).sum()
  total = sum(weight * losses[task] for task, weight in weights)
  return total, {f'loss/{task}': value for task, value in losses.items()}


def packed_mask(
  rows: token_rows.Rows, task: str, image_tokens: int
) -> attention_mask.Packed:
  """Returns the attention mask of rows in segments, which kernels can compute.

  Args:
    rows: rows [B, T] of a task.
    task: 't2i', 'mmu' or 'lm'.
    image_tokens: I, codes per image.
  """
  size = rows.tokens.shape[1]
  if task == 't2i':
    text = size - image_tokens - 2
    own = attention_mask.key_intervals(rows.ar[:, :text], rows.valid[:, :text])
    first = jnp.argmax(rows.valid, axis=-1)[:, None, None]
    return attention_mask.Packed(
      (
        attention_mask.Segment(text),
        attention_mask.Segment(
          image_tokens + 2, prefix=0, image=image_tokens + 2
        ),
      ),
      (jax.tree.map(lambda a: a[:, None], own), None),
      (None, attention_mask.Interval(start=first)),
    )
  own = attention_mask.key_intervals(rows.ar, rows.valid)
  image = image_tokens + 3 if task == 'mmu' else 0
  return attention_mask.Packed(
    (attention_mask.Segment(size, image=image),),
    (jax.tree.map(lambda a: a[:, None], own),),
    (None,),
  )
