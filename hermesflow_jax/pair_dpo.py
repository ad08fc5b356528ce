"""Pair-DPO: one preference loss over understanding and generation at once.

HermesFlow (arXiv 2502.12148), equation 12. Per input, a margin of captions
given the image and a margin of images given the caption,

  delta = (log pi(win) - log ref(win)) - (log pi(lose) - log ref(lose)),
  loss  = -log sigmoid(beta delta_gen) - log sigmoid(beta delta_und),

averaged over pairs. The pair axis is explicit: `[B, 2, ...]` is (win, lose).
All is float32. Equation 6 prints a product of the margins, which has no
gradient at pi = ref: `methods.product` has it, for comparison.
"""

import dataclasses

import jax
import jax.numpy as jnp

WIN, LOSE = 0, 1
UNSCORED = -100


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PairLogps:
  """Log-likelihoods of the pairs under one model, in nats.

  Attributes:
    t2i: float32[B, 2], of the masked codes given the caption.
    mmu: float32[B, 2], of the caption given the image.
  """

  t2i: jax.Array
  mmu: jax.Array


def next_labels(labels: jax.Array) -> jax.Array:
  """Moves labels to the tokens that predict them, for mmu and lm rows.

  Args:
    labels: int[..., T], each at the position of the token it names.

  Returns:
    int[..., T], each one position earlier; the last is -100.
  """
  last = jnp.full_like(labels[..., :1], UNSCORED)
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
  scored = labels != UNSCORED
  index = jnp.where(scored, labels, 0)
  chosen = jnp.take_along_axis(logits, index[..., None], axis=-1)[..., 0]
  logps = chosen - jax.nn.logsumexp(logits, axis=-1)
  return jnp.where(scored, logps, 0.0)


def sequence_logps(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns float32[...], `token_logps` summed over each row."""
  return token_logps(logits, labels).sum(-1)


def label_counts(labels: jax.Array) -> jax.Array:
  """Returns int32[...], the scored tokens of each row of int[..., T]."""
  return (labels != UNSCORED).sum(-1)


def margins(policy: jax.Array, reference: jax.Array) -> jax.Array:
  """Returns delta, float32[B], of log-likelihoods float32[B, 2]."""
  ratios = policy - reference
  return ratios[..., WIN] - ratios[..., LOSE]


def preference(scaled: jax.Array) -> jax.Array:
  """Returns -log sigmoid of margins times beta, of any shape."""
  return -jax.nn.log_sigmoid(scaled)


def loss(
  policy: PairLogps,
  reference: PairLogps,
  *,
  beta: float,
  und_weight: float,
  gen_weight: float,
  und_valid: jax.Array | None = None,
  gen_valid: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Returns the Pair-DPO loss and its metrics.

  Args:
    policy: of the model that learns.
    reference: of the frozen model; no gradient flows into it.
    beta: scale of the margins.
    und_weight: coefficient of the understanding loss.
    gen_weight: coefficient of the generation loss.
    und_valid: bool[B], the records that have a pair of captions; None: all.
      Or float32[B], each record's share in the mean, see `shares`.
    gen_valid: the same of images.

  Returns:
    (float32[], metrics). Each modality's loss is a mean over its own pairs, 0
    when there are none. `margin` and the log-ratios are in nats, not scaled by
    beta; `accuracy` is the share of pairs with a margin above 0.
  """
  reference = jax.lax.stop_gradient(reference)
  gen, und = (
    mean(preference(beta * margins(p, r)), valid)
    for p, r, valid in (
      (policy.t2i, reference.t2i, gen_valid),
      (policy.mmu, reference.mmu, und_valid),
    )
  )
  total = gen_weight * gen + und_weight * und
  metrics = {'pairs/loss': total, 'gen/loss': gen, 'und/loss': und}
  return total, metrics | watched(policy, reference, und_valid, gen_valid)


def shares(valid: jax.Array) -> jax.Array:
  """Returns float32[B], what each record adds to a mean over the valid ones.

  With these in place of `valid`, the losses and metrics of parts of a batch
  add up to those of the whole.
  """
  return valid / jnp.maximum(valid.sum(), 1).astype(jnp.float32)


def winner_nll(
  logps: jax.Array, counts: jax.Array, valid: jax.Array | None = None
) -> jax.Array:
  """Returns the winners' negative log-likelihood per token, a term to add.

  It keeps the likelihood of the winners from falling along with the losers'.

  Args:
    logps: float32[B, 2], of the policy.
    counts: int[B, 2], `label_counts` of the same rows.
    valid: bool[B], see `loss`.

  Returns:
    float32[], a mean over tokens, then over pairs.
  """
  nll = -logps[..., WIN] / jnp.maximum(counts[..., WIN], 1)
  return mean(nll, valid)


def sum_over_batch(
  logps: PairLogps,
  und_valid: jax.Array | None = None,
  gen_valid: jax.Array | None = None,
) -> PairLogps:
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
  return PairLogps(
    t2i=_kept(logps.t2i, gen_valid).sum(0, keepdims=True),
    mmu=_kept(logps.mmu, und_valid).sum(0, keepdims=True),
  )


def score_images_as_text(logps: PairLogps, t2i_as_text: jax.Array) -> PairLogps:
  """The official release's understanding margin, with t2i rows in it.

  A defect kept for comparison (config.compat): a slice `[-0:]` takes all rows
  where it should take the last, so the t2i rows are scored once more, as if
  each token predicted the next.

  Args:
    logps: of B pairs.
    t2i_as_text: float32[B, 2], `sequence_logps(logits, next_labels(labels))`
      of the t2i rows, with labels of `prompting.text_labels`. (Without the
      text the margin is the same, as long as win and lose share the text.)

  Returns:
    PairLogps whose `mmu` has both.
  """
  return dataclasses.replace(logps, mmu=logps.mmu + t2i_as_text)


def watched(
  policy: PairLogps,
  reference: PairLogps,
  und_valid: jax.Array | None = None,
  gen_valid: jax.Array | None = None,
) -> dict[str, jax.Array]:
  """Returns metrics of both kinds of pairs, which no method needs.

  Args: see `loss`.

  Returns:
    Of `und/` and `gen/`: `margin` and the log-ratios in nats, `accuracy`, the
    share of pairs with a margin above 0.
  """
  out = {}
  for name, p, r, valid in (
    ('gen', policy.t2i, reference.t2i, gen_valid),
    ('und', policy.mmu, reference.mmu, und_valid),
  ):
    ratios, delta = p - r, margins(p, r)
    out |= {
      f'{name}/margin': mean(delta, valid),
      f'{name}/accuracy': mean((delta > 0).astype(jnp.float32), valid),
      f'{name}/win_log_ratio': mean(ratios[..., WIN], valid),
      f'{name}/lose_log_ratio': mean(ratios[..., LOSE], valid),
    }
  return out


def mean(values: jax.Array, valid: jax.Array | None = None) -> jax.Array:
  """Returns the mean of float32[B] over the valid ones; 0 without any.

  Args:
    values: float32[B].
    valid: see `loss`.
  """
  if valid is None:
    return values.mean()
  share = shares(valid) if valid.dtype == bool else valid
  return (share * jnp.where(share > 0, values, 0.0)).sum()


def _kept(logps, valid):
  """float32[B, 2], 0 where a pair is not valid."""
  return logps if valid is None else jnp.where(valid[:, None], logps, 0.0)
