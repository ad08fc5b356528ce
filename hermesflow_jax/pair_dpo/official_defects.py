"""Official defects, reproduced for comparison.

Default training has none of them: it scores pairs in packed rows, see
`pair_log_likelihood.pair_logps`.
"""

import dataclasses

import jax
import jax.numpy as jnp

from hermesflow_jax.pair_dpo import pair_margins
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.training import log_likelihood


@dataclasses.dataclass(frozen=True)
class OfficialDefects:
  """Switches for defects in the official release, off by default.

  Attributes:
    score_images_as_text: the caption margin also scores the t2i rows.
    batch_sum: log-likelihoods are summed over the batch before the sigmoid.
    separate_drops: winner and loser drop the condition independently.
    other_prompt: training asks for a detailed caption, in LLaVA's rows: no
      sot token, no new line before the question, and two spaces before the
      caption.
  """

  score_images_as_text: bool = False
  batch_sum: bool = False
  separate_drops: bool = False
  other_prompt: bool = False

  @property
  def plain(self) -> bool:
    """Whether rows are plain, as the sides share too little to be packed."""
    return self.score_images_as_text or self.separate_drops


def check_clip_rows(compat: OfficialDefects) -> None:
  """Raises ValueError for defects that rows with CLIP features do not have.

  Args:
    compat: official defects to reproduce.
  """
  names = ('score_images_as_text', 'separate_drops', 'other_prompt')
  reproduced = [name for name in names if getattr(compat, name)]
  if reproduced:
    raise ValueError(
      f'compat.{reproduced[0]} must be False for a model that reads CLIP '
      'features, got True; leave this defect out'
    )


# The official training row up to the caption.
DETAILED_PROMPT = (
  f'USER: Give a detailed caption for this image. {text_tokenizer.ASSISTANT}'
)
# The official code decodes the caption with the space before it and adds
# another space.
DETAILED_SPACE = '  '


def unpacked_pair_logps(
  model, batch, masked: jax.Array, reply: int, images_as_text: bool = False
):
  """Scores both pairs in plain rows, a row per side.

  Only `OfficialDefects.plain` runs it; default training runs
  `pair_log_likelihood.pair_logps`, which returns the same numbers.

  Args:
    model: a ShowO.
    batch: 't2i' and 'mmu' Rows [B, 2, T].
    masked: bool[B, J, I], J masks per pair.
    reply: maximum length of a caption in tokens, its end included.
    images_as_text: see `OfficialDefects.score_images_as_text`.

  Returns:
    (log-likelihoods, scored token counts), `PairValues` each; image scores and
    counts are means over the masks.
  """
  rows = jax.tree.map(
    lambda a: jnp.broadcast_to(
      a[:, None], (a.shape[0], masked.shape[1], *a.shape[1:])
    ),
    batch['t2i'],
  )
  t2i, codes = log_likelihood.image_logps(model, rows, masked[:, :, None])
  mmu, words = log_likelihood.text_logps(model, batch['mmu'], reply)
  counts = pair_margins.PairValues(
    t2i=log_likelihood.label_counts(codes).mean(1),
    mmu=log_likelihood.label_counts(words),
  )
  logps = pair_margins.PairValues(t2i=t2i.sum(-1).mean(1), mmu=mmu.sum(-1))
  if images_as_text:
    shifted = image_logps_as_text(model, rows, masked[:, :, None])
    logps = score_images_as_text(logps, shifted.mean(1))
  return logps, counts


def image_logps_as_text(model, rows: token_rows.Rows, masked: jax.Array):
  """Scores t2i rows as if each token predicted the next (official defect).

  Args:
    model: a ShowO.
    rows: t2i rows [..., T], see `log_likelihood.image_logps`.
    masked: bool[..., I], codes to mask.

  Returns:
    float32[...], nats summed over each row, text included.
  """
  begin = rows.tokens.shape[-1] - masked.shape[-1] - 2
  tokens, labels = mask_schedules.apply_mask(
    model.config.vocab, rows.tokens, rows.labels, masked, begin + 1
  )
  before = jnp.cumsum(rows.labels != token_rows.UNSCORED, axis=-1) == 0
  labels = jnp.where(before & rows.valid, rows.tokens, labels)
  logits = model.logits(log_likelihood.hidden_states(model, tokens, rows))
  return log_likelihood.sequence_logps(
    logits, log_likelihood.next_labels(labels)
  )


def sum_over_batch(
  logps: pair_margins.PairValues,
  und_valid: jax.Array | None = None,
  gen_valid: jax.Array | None = None,
) -> pair_margins.PairValues:
  """Sums log-likelihoods over the batch, as the official release does.

  The sum comes before the sigmoid, so a single easy pair hides the others.
  Apply it to policy and reference alike; the resulting pair has no weights.

  Args:
    logps: log-likelihoods [B, 2].
    und_valid: bool[B], records with a caption pair; None: all.
    gen_valid: bool[B], records with an image pair; None: all.

  Returns:
    PairValues [1, 2].
  """
  return pair_margins.PairValues(
    t2i=_zero_invalid(logps.t2i, gen_valid).sum(0, keepdims=True),
    mmu=_zero_invalid(logps.mmu, und_valid).sum(0, keepdims=True),
  )


def score_images_as_text(
  logps: pair_margins.PairValues, t2i_as_text: jax.Array
) -> pair_margins.PairValues:
  """Adds t2i rows to caption scores, as the official release does.

  Its slice `[-0:]` takes all rows, not the last rows, so it also scores
  the t2i rows, as if each token predicted the next.

  Args:
    logps: log-likelihoods [B, 2].
    t2i_as_text: float32[B, 2], `sequence_logps(logits, next_labels(labels))`
      with labels from `text_to_image.lm_text_labels`. (Without the text the
      margin is the same, as long as winner and loser share the text.)

  Returns:
    PairValues whose `mmu` is the sum.
  """
  return dataclasses.replace(logps, mmu=logps.mmu + t2i_as_text)


def _zero_invalid(logps, valid):
  """Returns float32[B, 2] with 0 for invalid pairs."""
  return logps if valid is None else jnp.where(valid[:, None], logps, 0.0)
