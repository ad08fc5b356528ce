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
from hermesflow_jax import settings
from hermesflow_jax import text as text_lib
from hermesflow_jax import vocab as vocab_lib


@dataclasses.dataclass(frozen=True)
class Objective:
  """The weights of the loss.

  Attributes:
    beta: scale of the margins.
    und_weight, gen_weight: coefficients of the two DPO losses.
    und_sft_weight, gen_sft_weight: of the negative log-likelihood per token
      of winning captions, and of winning images.
    masks: random masks a pair; their log-likelihoods are averaged.
    drop_condition: probability that a pair of images has the empty text.
  """

  beta: float = 0.2
  und_weight: float = 1.0
  gen_weight: float = 1.0
  und_sft_weight: float = 0.0
  gen_sft_weight: float = 0.0
  masks: int = 1
  drop_condition: float = 0.1

  def __post_init__(self):
    settings.require(
        self,
        {'und_weight': 0, 'gen_weight': 0, 'und_sft_weight': 0,
         'gen_sft_weight': 0, 'masks': 1, 'drop_condition': 0},
        above=('beta',), most={'drop_condition': 1},
    )


@dataclasses.dataclass(frozen=True)
class Compat:
  """Defects of the official release that can be asked for, for comparison.

  Attributes:
    score_images_as_text: the understanding margin also scores the t2i rows.
    batch_sum: log-likelihoods are summed over the batch before the sigmoid.
    separate_drops: the condition is dropped apart for winner and loser.
    other_prompt: training asks for a detailed caption, in rows without sot.
  """

  score_images_as_text: bool = False
  batch_sum: bool = False
  separate_drops: bool = False
  other_prompt: bool = False


DETAILED_PROMPT = 'Give a detailed caption for this image.'


def transform(
    vocab: vocab_lib.Vocab,
    text: text_lib.Text,
    lengths: prompting.Lengths,
    drop_condition: float,
    compat: Compat = Compat(),
) -> Callable[[dict, np.random.Generator], dict]:
  """Returns the function from a homologous record to its rows.

  The record has `codes` int[I] (the real image), `caption`, `caption_win`,
  `caption_lose`, `codes_win`, `codes_lose`, and `caption_dropped`,
  `image_dropped`, '' where there is a pair.
  """

  asked = DETAILED_PROMPT if compat.other_prompt else text_lib.CAPTION_PROMPT

  def rows(record, rng):
    win, lose, caption, prompt = text.encode([
        record['caption_win'], record['caption_lose'], record['caption'],
        text_lib.user(asked),
    ])
    # One draw for both, unless the official two are asked for.
    drop = rng.random(2) < drop_condition
    if not compat.separate_drops:
      drop[1] = drop[0]
    conditions = [[] if dropped else caption for dropped in drop]
    images = np.stack([record['codes_win'], record['codes_lose']])
    real = np.stack([record['codes']] * 2)
    return {
        't2i': prompting.t2i_rows(
            vocab, conditions, images, lengths.max_text
        ),
        'mmu': prompting.mmu_rows(
            vocab, real, [prompt] * 2, [win, lose], lengths.mmu,
            sot=not compat.other_prompt,
        ),
        'gen_valid': np.array(not record['image_dropped']),
        'und_valid': np.array(not record['caption_dropped']),
    }

  return rows


def pair_logps(
    model, batch, hidden: jax.Array, reply: int, images_as_text: bool = False
):
  """Scores both pairs of each record under one model.

  Args:
    model: a ShowO.
    batch: 't2i' and 'mmu' Rows [B, 2, T].
    hidden: bool[B, K, I], K masks a pair.
    reply: the most tokens of a caption, its end included.
    images_as_text: add the t2i rows, each token predicting the next, to the
      understanding side (`Compat.score_images_as_text`).

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
  t2i, codes = likelihood.of_images(model, rows, hidden[:, :, None])
  mmu, words = likelihood.of_text(model, batch['mmu'], reply)
  counts = pair_dpo.PairLogps(
      t2i=pair_dpo.label_counts(codes).mean(1),
      mmu=pair_dpo.label_counts(words),
  )
  logps = pair_dpo.PairLogps(t2i=t2i.sum(-1).mean(1), mmu=mmu.sum(-1))
  if images_as_text:
    shifted = likelihood.of_images_as_text(model, rows, hidden[:, :, None])
    logps = pair_dpo.score_images_as_text(logps, shifted.mean(1))
  return logps, counts


def loss(
    model, reference, batch, key, *, objective: Objective,
    schedule: masking.Schedule, image_tokens: int, reply: int,
    compat: Compat = Compat(),
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
    reply: the most tokens of a caption, its end included.
    compat: official defects to reproduce.
  """
  records = batch['gen_valid'].shape[0]
  keys = jax.random.split(key, (records, objective.masks))
  draw = lambda k: masking.draw(k, image_tokens, schedule)
  hidden = jax.vmap(jax.vmap(draw))(keys)
  as_text = compat.score_images_as_text
  policy, counts = pair_logps(model, batch, hidden, reply, as_text)
  frozen, _ = pair_logps(reference, batch, hidden, reply, as_text)
  gen_nll = pair_dpo.winner_nll(policy.t2i, counts.t2i, batch['gen_valid'])
  und_nll = pair_dpo.winner_nll(policy.mmu, counts.mmu, batch['und_valid'])
  valid = dict(und_valid=batch['und_valid'], gen_valid=batch['gen_valid'])
  if compat.batch_sum:
    policy = pair_dpo.sum_over_batch(policy, **valid)
    frozen = pair_dpo.sum_over_batch(frozen, **valid)
    valid = {}
  total, metrics = pair_dpo.loss(
      policy, frozen, beta=objective.beta, und_weight=objective.und_weight,
      gen_weight=objective.gen_weight, **valid,
  )
  ratio = (hidden.sum(-1) / image_tokens).mean()
  metrics |= {
      'gen/winner_nll': gen_nll, 'und/winner_nll': und_nll,
      'gen/mask_ratio': ratio,
  }
  total += objective.gen_sft_weight * gen_nll
  total += objective.und_sft_weight * und_nll
  return total, metrics
