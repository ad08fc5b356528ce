"""Defects of the official code, for comparison with it."""

import dataclasses

import jax
import jax.numpy as jnp

from hermesflow_jax.pair_dpo import preferences
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.training import log_likelihood


@dataclasses.dataclass(frozen=True)
class OfficialDefects:
  """Defects of the official release that can be asked for, for comparison.

  Attributes:
    score_images_as_text: the understanding margin also scores the t2i rows.
    batch_sum: log-likelihoods are summed over the batch before the sigmoid.
    separate_drops: the condition is dropped apart for winner and loser.
    other_prompt: training asks for a detailed caption, in the rows of
      LLaVA's form: without sot, without a new line before the question, and
      with two spaces before the caption.
  """

  score_images_as_text: bool = False
  batch_sum: bool = False
  separate_drops: bool = False
  other_prompt: bool = False

  @property
  def plain(self) -> bool:
    """Whether rows of their own are wanted, as sides share too little."""
    return self.score_images_as_text or self.separate_drops


# The official training row, up to the caption. The caption was decoded with the
# space before it, and another stands in the row.
DETAILED_PROMPT = (
  f'USER: Give a detailed caption for this image. {text_tokenizer.ASSISTANT}'
)


DETAILED_SPACE = '  '


def unpacked_pair_logps(
  model, batch, hidden: jax.Array, reply: int, images_as_text: bool = False
):
  """Scores both pairs of each record under one model.

  Args:
    model: a ShowO.
    batch: 't2i' and 'mmu' Rows [B, 2, T].
    hidden: bool[B, K, I], K masks a pair.
    reply: the most tokens of a caption, its end included.
    images_as_text: add the t2i rows, each token predicting the next, to the
      understanding side (`OfficialDefects.score_images_as_text`).

  Returns:
    (PairLogps, the number of scored tokens in the same form; of the images
    the mean over the masks).
  """
  rows = jax.tree.map(
    lambda a: jnp.broadcast_to(
      a[:, None], (a.shape[0], hidden.shape[1], *a.shape[1:])
    ),
    batch['t2i'],
  )
  t2i, codes = log_likelihood.image_logps(model, rows, hidden[:, :, None])
  mmu, words = log_likelihood.text_logps(model, batch['mmu'], reply)
  counts = preferences.PairLogps(
    t2i=log_likelihood.label_counts(codes).mean(1),
    mmu=log_likelihood.label_counts(words),
  )
  logps = preferences.PairLogps(t2i=t2i.sum(-1).mean(1), mmu=mmu.sum(-1))
  if images_as_text:
    shifted = image_logps_as_text(model, rows, hidden[:, :, None])
    logps = score_images_as_text(logps, shifted.mean(1))
  return logps, counts


def image_logps_as_text(model, rows: token_rows.Rows, hidden_codes: jax.Array):
  """Scores t2i rows as if each token predicted the next (official defect 1).

  Arguments as in `of_images`.

  Returns:
    float32[...], summed over each row, text included.
  """
  begin = rows.tokens.shape[-1] - hidden_codes.shape[-1] - 2
  tokens, labels = mask_schedules.apply_mask(
    model.config.vocab, rows.tokens, rows.labels, hidden_codes, begin + 1
  )
  before = jnp.cumsum(rows.labels != token_rows.UNSCORED, axis=-1) == 0
  labels = jnp.where(before & rows.valid, rows.tokens, labels)
  logits = model.logits(log_likelihood.hidden_states(model, tokens, rows))
  return log_likelihood.sequence_logps(
    logits, log_likelihood.next_labels(labels)
  )


def sum_over_batch(
  logps: preferences.PairLogps,
  und_valid: jax.Array | None = None,
  gen_valid: jax.Array | None = None,
) -> preferences.PairLogps:
  """The official release's batch sum: one pair [1, 2] out of B.

  A defect kept for comparison (config.compat): log-likelihoods are added up
  before the sigmoid, so one easy pair hides the others. Give the result to
  `loss`, for policy and reference alike, without validity.

  Args:
    logps: of B pairs.
    und_valid: bool[B], see `loss`.
    gen_valid: bool[B], see `loss`.

  Returns:
    PairLogps of one pair.
  """
  return preferences.PairLogps(
    t2i=_kept(logps.t2i, gen_valid).sum(0, keepdims=True),
    mmu=_kept(logps.mmu, und_valid).sum(0, keepdims=True),
  )


def score_images_as_text(
  logps: preferences.PairLogps, t2i_as_text: jax.Array
) -> preferences.PairLogps:
  """The official release's understanding margin, with t2i rows in it.

  A defect kept for comparison (config.compat): a slice `[-0:]` takes all rows
  where it should take the last, so the t2i rows are scored once more, as if
  each token predicted the next.

  Args:
    logps: of B pairs.
    t2i_as_text: float32[B, 2], `sequence_logps(logits, next_labels(labels))`
      of the t2i rows, with labels of `text_to_image.lm_text_labels`. (Without the
      text the margin is the same, as long as win and lose share the text.)

  Returns:
    PairLogps whose `mmu` has both.
  """
  return dataclasses.replace(logps, mmu=logps.mmu + t2i_as_text)


def _kept(logps, valid):
  """float32[B, 2], 0 where a pair is not valid."""
  return logps if valid is None else jnp.where(valid[:, None], logps, 0.0)
