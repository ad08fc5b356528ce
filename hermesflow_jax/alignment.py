"""Pair-DPO training: homologous records to rows, rows to the loss.

One record feeds both tasks: captions given the real image, images given the
true caption. Winner and loser share the mask of codes and the draw of the
condition; policy and reference see the same rows.
"""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax import likelihood
from hermesflow_jax import masking
from hermesflow_jax import pair_dpo
from hermesflow_jax import prompting
from hermesflow_jax import text as text_lib
from hermesflow_jax import vocab as vocab_lib


@dataclasses.dataclass(frozen=True)
class Objective:
  """The weights of the loss.

  Attributes:
    beta: scale of the margins.
    und_weight, gen_weight: coefficients of the two DPO losses.
    sft_weight: of the winning images' negative log-likelihood per token.
    masks: random masks a pair; their log-likelihoods are averaged.
    drop_condition: probability that a pair of images has the empty text.
  """

  beta: float = 0.2
  und_weight: float = 1.0
  gen_weight: float = 1.0
  sft_weight: float = 0.0
  masks: int = 1
  drop_condition: float = 0.1


def transform(
    vocab: vocab_lib.Vocab,
    text: text_lib.Text,
    lengths: prompting.Lengths,
    drop_condition: float,
) -> Callable[[dict, np.random.Generator], dict]:
  """Returns the function from a homologous record to its rows.

  The record has `codes` int[I] (the real image), `caption`, `caption_win`,
  `caption_lose`, `codes_win`, `codes_lose`, and `caption_dropped`,
  `image_dropped`, '' where there is a pair.
  """

  def rows(record, rng):
    win, lose, caption, prompt = text.encode([
        record['caption_win'], record['caption_lose'], record['caption'],
        text_lib.user(text_lib.CAPTION_PROMPT),
    ])
    if rng.random() < drop_condition:
      caption = []
    images = np.stack([record['codes_win'], record['codes_lose']])
    real = np.stack([record['codes']] * 2)
    return {
        't2i': prompting.t2i_rows(
            vocab, [caption] * 2, images, lengths.max_text
        ),
        'mmu': prompting.mmu_rows(
            vocab, real, [prompt] * 2, [win, lose], lengths.mmu
        ),
        'gen_valid': np.array(not record['image_dropped']),
        'und_valid': np.array(not record['caption_dropped']),
    }

  return rows


def pair_logps(model, batch, hidden: jax.Array):
  """Scores both pairs of each record under one model.

  Args:
    model: a ShowO.
    batch: 't2i' and 'mmu' Rows [B, 2, T].
    hidden: bool[B, K, I], K masks a pair.

  Returns:
    (PairLogps, counts int32[B, 2] of scored tokens of the images).
  """
  size = hidden.shape[-1]
  images = jax.tree.map(lambda a: a[:, None], batch['t2i'])
  images = jax.tree.map(
      lambda a: jnp.broadcast_to(
          a, (a.shape[0], hidden.shape[1], *a.shape[2:])
      ),
      images,
  )
  t2i, labels = likelihood.of_images(model, images, hidden[:, :, None])
  mmu, _ = likelihood.of_text(model, batch['mmu'], size + 2)
  counts = pair_dpo.label_counts(labels).mean(1)
  return pair_dpo.PairLogps(t2i=t2i.sum(-1).mean(1), mmu=mmu.sum(-1)), counts


def loss(
    model, reference, batch, key, *, objective: Objective,
    schedule: masking.Schedule, image_tokens: int,
):
  """Returns (Pair-DPO loss, metrics) of a batch of homologous records.

  Args:
    model: the policy, a ShowO.
    reference: the frozen model.
    batch: of `transform`, with a batch axis in front.
    key: draws the masks.
    objective: beta and weights.
    schedule: of the random masks.
    image_tokens: I.
  """
  records = batch['gen_valid'].shape[0]
  keys = jax.random.split(key, (records, objective.masks))
  draw = lambda k: masking.draw(k, image_tokens, schedule)
  hidden = jax.vmap(jax.vmap(draw))(keys)
  policy, counts = pair_logps(model, batch, hidden)
  frozen, _ = pair_logps(reference, batch, hidden)
  total, metrics = pair_dpo.loss(
      policy, frozen, beta=objective.beta, und_weight=objective.und_weight,
      gen_weight=objective.gen_weight, und_valid=batch['und_valid'],
      gen_valid=batch['gen_valid'],
  )
  nll = pair_dpo.winner_nll(policy.t2i, counts, batch['gen_valid'])
  ratio = (hidden.sum(-1) / image_tokens).mean()
  metrics |= {'gen/winner_nll': nll, 'gen/mask_ratio': ratio}
  return total + objective.sft_weight * nll, metrics
