"""The answer term: losses on answers to the inputs' own questions.

The questions come with right answers, made from captions alone, so the term
needs no pair and no label. With the probability p of the right answer among the
choices, and z = log p / (1 - p), the forms push z with these strengths:

  sft    1 - p                 likelihood of the right answer
  grpo   sqrt(p (1 - p))       expected reward, advantages over their deviation
  pairs  beta sigmoid(-beta (z - z_ref))  DPO, with one wrong choice

The choices of a question are few and known. So `grpo` computes the expectation
over the model's answers in place of a sampled group: with reward 1 for the
right answer and 0 for others, the mean of a group is p and its deviation
sqrt(p (1 - p)), and the expected gradient is that of 2 arcsin(sqrt(p))
(arXiv 2510.13651). Most groups would be flat, as most questions are answered
rightly with near certainty. The policy of each step weighs its own answers, so
ratios are 1 and nothing is clipped.
"""

import jax
import jax.numpy as jnp

from hermesflow_jax.pair_dpo import answer_config
from hermesflow_jax.pair_dpo import answer_rows
from hermesflow_jax.pair_dpo import pair_margins
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.training import chunked_log_likelihood
from hermesflow_jax.training import log_likelihood


def answer_logps(
  model, batch: answer_rows.AnswerRows, chunk_size: int
) -> jax.Array:
  """Scores answers as replies, their ends included.

  Args:
    model: a ShowO.
    batch: B rows with S answers.
    chunk_size: labels of a row whose logits are in memory at once.

  Returns:
    float32[B, S], log-likelihoods; LOWEST where a question has no such answer.
  """
  tokens, positions, mask = answer_rows.pack_batch(batch)
  if batch.features is None:
    hidden, _ = model(tokens, mask, positions)
  else:
    # Features come first in these rows.
    embedded = model.embed_clip(tokens, batch.features, 0)
    hidden, _ = model.from_embeddings(embedded, mask, positions)
  count, copies, length = batch.texts.shape
  labels = batch.answers
  states = hidden[:, batch.image.shape[-1] :].reshape(
    count, copies, length, hidden.shape[-1]
  )
  # The last token of the prompt predicts the first token of an answer.
  index = batch.length[:, None] - 1 + jnp.arange(labels.shape[-1])
  index = jnp.minimum(index, length - 1)[:, None, :, None]
  states = jnp.take_along_axis(states, index, axis=2)
  logps = chunked_log_likelihood.chunked_logps(
    model,
    states.reshape(count, -1, hidden.shape[-1]),
    labels.reshape(count, -1),
    chunk_size,
  ).reshape(labels.shape)
  exists = (labels != token_rows.UNSCORED).any(-1)
  return jnp.where(exists, logps.sum(-1), attention_mask.LOWEST)


def sft(logps, counts, reference, config) -> jax.Array:
  """Returns the right answers' negative log-likelihood per token, float32[B].

  Args:
    logps: float32[B, S], log-likelihoods under the policy, the right answer
      first.
    counts: int32[B, S], tokens of the answers.
    reference: the same as `logps` under the frozen model; or None.
    config: settings of the term.
  """
  del reference, config
  return -logps[:, 0] / jnp.maximum(counts[:, 0], 1)


def pairs(logps, counts, reference, config) -> jax.Array:
  """Returns -log sigmoid(beta delta) of right over wrong answers, float32[B].

  Args: see `sft`, with S = 2.
  """
  del counts
  delta = pair_margins.reward_margins(logps, reference)
  return pair_margins.log_sigmoid_loss(config.beta * delta)


def grpo(logps, counts, reference, config) -> jax.Array:
  """Returns pi - 2 arcsin(sqrt(p)), float32[B]; see the top of this file.

  p is the probability of the right answer, given that the model gives one of
  the choices.

  Args: see `sft`, with all choices.
  """
  del counts, reference, config
  # 2 arcsin(sqrt(p)) = pi / 2 + 2 arctan(tanh(z / 4)), whose gradient is finite
  # where p is 0 or 1 in float32.
  return jnp.pi / 2 - 2 * jnp.arctan(jnp.tanh(_right_logit(logps) / 4))


FORMS = {'sft': sft, 'pairs': pairs, 'grpo': grpo}


def _right_logit(logps):
  """Returns log p / (1 - p) of the right answer, float32[B]."""
  return logps[:, 0] - jax.nn.logsumexp(logps[:, 1:], axis=-1)


def loss(
  model, batch: dict, config: answer_config.AnswerConfig, chunk_size: int
):
  """Returns the answer term without its weight, and its metrics.

  Args:
    model: policy, a ShowO.
    batch: 'rows', AnswerRows of B questions, 'share' float32[B], the weights
      for means over questions, and with form 'pairs' 'reference' float32[B, 2],
      log-likelihoods under the frozen model.
    config: settings of the term.
    chunk_size: see `answer_logps`.

  Returns:
    (float32[], {name: float32[]}). `answers/right_nll` is in nats per token;
    `answers/accuracy`, with wrong answers in the rows, is the share of
    questions whose right answer is the likeliest in its row.
  """
  rows, share = batch['rows'], batch['share']
  logps = answer_logps(model, rows, chunk_size)
  counts = log_likelihood.label_counts(rows.answers)
  reference = batch.get('reference')
  nll = (share * sft(logps, counts, reference, config)).sum()
  values = FORMS[config.form](logps, counts, reference, config)
  total = (share * values).sum()
  metrics = {'answers/loss': total, 'answers/right_nll': nll}
  if logps.shape[1] > 1:
    right = _right_logit(logps)
    likeliest = logps[:, 0] > logps[:, 1:].max(-1)
    metrics |= {
      'answers/accuracy': (share * likeliest).sum(),
      'answers/right_probability': (share * jax.nn.sigmoid(right)).sum(),
    }
  return total + config.sft_weight * nll, metrics
