"""Pair-DPO training: homologous records to rows, rows to the loss.

One record feeds both tasks: captions given the real image, images given the
true caption. Winner and loser share the mask of codes and the draw of the
condition; policy and reference see the same rows.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax import likelihood
from hermesflow_jax import masking
from hermesflow_jax import methods
from hermesflow_jax import packing
from hermesflow_jax import pair_dpo
from hermesflow_jax import prompting
from hermesflow_jax import settings
from hermesflow_jax import sharding
from hermesflow_jax import text as text_lib
from hermesflow_jax import vocab as vocab_lib
from hermesflow_jax.data import pipeline


@dataclasses.dataclass(frozen=True)
class Objective:
  """What is learned from pairs.

  Attributes:
    method: a name of `methods.METHODS`.
    beta, smoothing: see `methods.Strength`.
    und_weight, gen_weight: coefficients of the method's losses of captions
      and of images.
    und_sft_weight, gen_sft_weight: of the negative log-likelihood per token
      of winning captions, and of winning images: added to a method that
      learns from these.
    masks: random masks a pair; their log-likelihoods are averaged.
    drop_condition: probability that a pair of images has the empty text.
    fixed_masks: a pair keeps its masks for a whole round, so that the
      reference scores it once before; otherwise masks are drawn at each step.
  """

  method: str = 'pair_dpo'
  beta: float = 0.2
  smoothing: float = 0.0
  und_weight: float = 1.0
  gen_weight: float = 1.0
  und_sft_weight: float = 0.0
  gen_sft_weight: float = 0.0
  masks: int = 1
  drop_condition: float = 0.1
  fixed_masks: bool = False

  def __post_init__(self):
    settings.require(
      self,
      {
        'und_weight': 0,
        'gen_weight': 0,
        'und_sft_weight': 0,
        'gen_sft_weight': 0,
        'masks': 1,
        'drop_condition': 0,
        'smoothing': 0,
      },
      above=('beta',),
      most={'drop_condition': 1, 'smoothing': 0.49},
    )
    if self.method not in methods.METHODS:
      raise ValueError(
        f'method is {self.method!r}, wanted one of '
        + ', '.join(methods.METHODS)
      )
    if bool(self.smoothing) != (self.method in ('smoothed', 'robust')):
      raise ValueError(
        f'smoothing is {self.smoothing} with method {self.method}: smoothed '
        'and robust want more than 0, all others 0'
      )
    if self.method == 'sft' and self.und_sft_weight + self.gen_sft_weight:
      raise ValueError(
        'method sft wants und_sft_weight and gen_sft_weight 0: its own '
        'losses are the same, with und_weight and gen_weight'
      )
    weights = self.und_weight, self.gen_weight
    if self.method == 'product' and weights != (1, 1):
      raise ValueError('method product wants und_weight and gen_weight 1')


@dataclasses.dataclass(frozen=True)
class Compat:
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
  f'USER: Give a detailed caption for this image. {text_lib.ASSISTANT}'
)
_DETAILED_SPACE = '  '


def transform(
  vocab: vocab_lib.Vocab,
  text: text_lib.Text,
  lengths: prompting.Lengths,
  drop_condition: float,
  compat: Compat = Compat(),
  fit: packing.Fit | None = None,
  caption_prompt: str = text_lib.CAPTION_PROMPT,
) -> Callable[[dict, np.random.Generator], dict]:
  """Returns the function from a homologous record to its arrays.

  The record has `codes` int[I] (the real image), `caption`, `caption_win`,
  `caption_lose`, `codes_win`, `codes_lose`, and `caption_dropped`,
  `image_dropped`, '' where there is a pair; and what `score_reference` adds.

  Args:
    vocab: the vocabulary.
    text: the tokenizer.
    lengths: of rows.
    drop_condition: see `Objective`.
    compat: official defects to reproduce.
    fit: see `fitted`; None: as long as `lengths` allow.
    caption_prompt: what captions are asked with.
  """
  question = text_lib.user(caption_prompt)
  if compat.other_prompt:
    question = DETAILED_PROMPT
  fit = fit or packing.Fit(lengths.max_text + 1, lengths.reply)

  def arrays(record, rng):
    caption, prompt = text.encode([record['caption'], question])
    win, lose = _replies(text, record, compat)
    # One draw for both, unless the official two are asked for.
    drop = rng.random(2) < drop_condition
    if not compat.separate_drops:
      drop[1] = drop[0]
    conditions = [[] if dropped else caption for dropped in drop]
    images = np.stack([record['codes_win'], record['codes_lose']])
    out = {
      'gen_valid': np.array(not record['image_dropped']),
      'und_valid': np.array(not record['caption_dropped']),
    }
    if compat.plain:
      real = np.stack([record['codes']] * 2)
      return out | {
        't2i': prompting.t2i_rows(vocab, conditions, images, lengths.max_text),
        'mmu': prompting.mmu_rows(
          vocab,
          real,
          [prompt] * 2,
          [win, lose],
          lengths.mmu,
          sot=not compat.other_prompt,
        ),
      }
    out['packed'] = packing.record(
      vocab,
      conditions[0],
      images,
      np.asarray(record['codes']),
      prompt,
      [win, lose],
      lengths.max_text,
      fit,
      sot=not compat.other_prompt,
    )
    if 'reference_mmu' in record:
      out['reference_mmu'] = record['reference_mmu']
    if 'hidden' in record:
      out['hidden'] = record['hidden']
      out['reference_t2i'] = record['reference_t2i'][int(drop[0])]
    return out

  return arrays


def fitted(
  vocab: vocab_lib.Vocab,
  text: text_lib.Text,
  lengths: prompting.Lengths,
  records: Sequence[dict],
  compat: Compat = Compat(),
) -> packing.Fit:
  """Returns how long the texts of these records are at most."""
  captions = text.encode([r['caption'] for r in records])
  replies = [ids for r in records for ids in _replies(text, r, compat)]
  return packing.fit(vocab, captions, replies, lengths)


def _replies(text, record, compat):
  """The ids of the winning and the losing caption as they follow a prompt."""
  # Captions of earlier releases begin with the space that comes before them.
  captions = [record[f'caption_{side}'] for side in ('win', 'lose')]
  return text.encode_replies(
    [caption.removeprefix(' ') for caption in captions],
    space=_DETAILED_SPACE if compat.other_prompt else ' ',
  )


def score_reference(
  reference,
  records: Sequence[dict],
  make: Callable,
  *,
  objective: Objective,
  schedule: masking.Schedule,
  image_tokens: int,
  seed: int,
  chunk: int,
  rows: int,
  mesh,
) -> list[dict]:
  """Scores records once, before training, where that is exact.

  Args:
    reference: the frozen model.
    records: see `transform`.
    make: (record, whether the condition is dropped) -> arrays, of `transform`.
    objective: says whether masks are fixed.
    schedule: of the masks.
    image_tokens: I.
    seed: of the masks.
    chunk: records at once; the mesh's `data` axis divides it.
    rows: see `packing.pair_logps`.
    mesh: from `sharding.make_mesh`.

  Returns:
    The records with `reference_mmu` float32[2]; with fixed masks also `hidden`
    bool[K, I] and `reference_t2i` float32[2, 2], given the caption and given
    none (the same where the condition is never dropped).
  """

  def scored(dropped, hidden, replies):
    packed = pipeline.stack([make(r, dropped)['packed'] for r in records])
    return pipeline.mapped(
      lambda batch: _score(
        reference, *batch, rows=rows, replies=replies, mesh=mesh
      ),
      (packed, hidden),
      chunk,
      mesh,
    )

  if not objective.fixed_masks:
    found = scored(False, None, True)
    return [r | {'reference_mmu': m} for r, m in zip(records, found.mmu)]

  @jax.jit
  def draw(names):
    def one(name):
      key = jax.random.fold_in(jax.random.key(seed), name)
      keys = jax.random.split(key, objective.masks)
      return jax.vmap(lambda k: masking.draw(k, image_tokens, schedule))(keys)

    return jax.vmap(one)(names)

  names = [zlib.crc32(r['id'].encode()) for r in records]
  hidden = np.asarray(draw(np.array(names, np.uint32)))
  found = scored(False, hidden, True)
  empty = scored(True, hidden, False) if objective.drop_condition else found
  return [
    r | {'reference_mmu': m, 'hidden': h, 'reference_t2i': np.stack([a, b])}
    for r, m, h, a, b in zip(records, found.mmu, hidden, found.t2i, empty.t2i)
  ]


@functools.partial(jax.jit, static_argnames=('rows', 'replies', 'mesh'))
def _score(reference, batch, hidden, *, rows, replies, mesh):
  with sharding.known(mesh):
    return packing.pair_logps(reference, batch, hidden, rows, replies)[0]


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
    t2i=pair_dpo.label_counts(codes).mean(1), mmu=pair_dpo.label_counts(words)
  )
  logps = pair_dpo.PairLogps(t2i=t2i.sum(-1).mean(1), mmu=mmu.sum(-1))
  if images_as_text:
    shifted = likelihood.of_images_as_text(model, rows, hidden[:, :, None])
    logps = pair_dpo.score_images_as_text(logps, shifted.mean(1))
  return logps, counts


def prepare(
  batch, key, *, masks: int, schedule: masking.Schedule, image_tokens: int
):
  """Draws what a step wants at random, and says what each record counts.

  It sees the whole batch, so that the losses of its parts add up.

  Args:
    batch: of `transform`, with a batch axis in front.
    key: of the step.
    masks: K, a pair.
    schedule: of the masks.
    image_tokens: I.

  Returns:
    The batch with `hidden` bool[B, K, I] unless it is there, and each
    record's shares in the means: `gen_share`, `und_share`, `both_share`
    float32[B].
  """
  records = batch['gen_valid'].shape[0]
  batch = dict(batch)
  if 'hidden' not in batch:
    keys = jax.random.split(key, (records, masks))
    draw = lambda k: masking.draw(k, image_tokens, schedule)
    batch['hidden'] = jax.vmap(jax.vmap(draw))(keys)
  return batch | {
    'gen_share': pair_dpo.shares(batch['gen_valid']),
    'und_share': pair_dpo.shares(batch['und_valid']),
    'both_share': pair_dpo.shares(batch['und_valid'] & batch['gen_valid']),
  }


def loss(
  model,
  reference,
  batch,
  key=None,
  *,
  objective: Objective,
  reply: int,
  compat: Compat = Compat(),
  rows: int = 512,
):
  """Returns (loss of the method, metrics) of prepared homologous records.

  Args:
    model: the policy, a ShowO.
    reference: the frozen model; None where all its scores are in the batch.
    batch: of `prepare`, or a part of it.
    key: not used.
    objective: the method and its weights.
    reply: the most tokens of a caption, its end included.
    compat: official defects to reproduce.
    rows: see `packing.pair_logps`.
  """
  hidden = batch['hidden']
  if 'packed' in batch:
    policy, counts = packing.pair_logps(model, batch['packed'], hidden, rows)
    frozen = _frozen(reference, batch, rows)
  else:
    as_text = compat.score_images_as_text
    policy, counts = pair_logps(model, batch, hidden, reply, as_text)
    frozen, _ = pair_logps(reference, batch, hidden, reply, as_text)
  valid = dict(und_valid=batch['und_share'], gen_valid=batch['gen_share'])
  gen_nll = pair_dpo.winner_nll(policy.t2i, counts.t2i, valid['gen_valid'])
  und_nll = pair_dpo.winner_nll(policy.mmu, counts.mmu, valid['und_valid'])
  if compat.batch_sum:
    kept = dict(und_valid=batch['und_valid'], gen_valid=batch['gen_valid'])
    policy = pair_dpo.sum_over_batch(policy, **kept)
    frozen = pair_dpo.sum_over_batch(frozen, **kept)
    valid = dict(und_valid=None, gen_valid=None)
  frozen = jax.lax.stop_gradient(frozen)
  both = None if compat.batch_sum else batch['both_share']
  losses = methods.METHODS[objective.method](
    methods.Scores(
      policy, frozen, counts, valid['und_valid'], valid['gen_valid'], both
    ),
    methods.Strength(objective.beta, objective.smoothing),
  )
  weights = {
    'gen': objective.gen_weight,
    'und': objective.und_weight,
    'both': 1.0,
  }
  # In this order: sums of floats have one.
  total = sum(w * losses[name] for name, w in weights.items() if name in losses)
  metrics = {f'{name}/loss': value for name, value in losses.items()}
  metrics['pairs/loss'] = total
  metrics |= pair_dpo.watched(policy, frozen, **valid)
  metrics |= {
    # Steps count by these in the means of an interval.
    'gen/pairs': batch['gen_valid'].sum().astype(jnp.float32),
    'und/pairs': batch['und_valid'].sum().astype(jnp.float32),
    'both/pairs': (batch['und_valid'] & batch['gen_valid'])
    .sum()
    .astype(jnp.float32),
    'gen/winner_nll': gen_nll,
    'und/winner_nll': und_nll,
    'gen/mask_ratio': (batch['gen_share'] * hidden.mean((1, 2))).sum(),
  }
  if losses.keys() & {'gen', 'both'}:
    total += objective.gen_sft_weight * gen_nll
  if losses.keys() & {'und', 'both'}:
    total += objective.und_sft_weight * und_nll
  return total, metrics


def _frozen(reference, batch, rows):
  """The reference's PairLogps; what was scored before is not again."""
  t2i, mmu = batch.get('reference_t2i'), batch.get('reference_mmu')
  if t2i is None or mmu is None:
    hidden = batch['hidden'] if t2i is None else None
    found, _ = packing.pair_logps(
      reference, batch['packed'], hidden, rows, replies=mmu is None
    )
    t2i, mmu = (
      a if b is None else b for a, b in ((found.t2i, t2i), (found.mmu, mmu))
    )
  return pair_dpo.PairLogps(t2i=t2i, mmu=mmu)
