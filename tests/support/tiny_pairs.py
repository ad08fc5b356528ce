"""Preference pairs and the loss for tests of the tiny model."""

import functools

import jax
import numpy as np
import tiny

from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import official_defects
from hermesflow_jax.pair_dpo import pair_loss
from hermesflow_jax.pair_dpo import record_rows
from hermesflow_jax.runtime import batching
from hermesflow_jax.sequences import mask_schedules

OBJECTIVE = objective_config.ObjectiveConfig(
  beta=0.2,
  und_weight=1.0,
  gen_weight=1.0,
  und_sft_weight=0.2,
  gen_sft_weight=0.3,
  masks=2,
)


def record(n=0, caption_dropped='', image_dropped=''):
  rng = np.random.default_rng(n)
  return {
    'codes': rng.integers(0, 16, tiny.IMAGE_TOKENS),
    'caption': 'two blue square',
    'caption_win': 'one red circle',
    'caption_lose': 'green star',
    'codes_win': rng.integers(0, 16, tiny.IMAGE_TOKENS),
    'codes_lose': rng.integers(0, 16, tiny.IMAGE_TOKENS),
    'caption_dropped': caption_dropped,
    'image_dropped': image_dropped,
  }


def rows_of(record, drop_condition=0.0, seed=0, **compat):
  make = record_rows.make_transform(
    tiny.vocab(),
    tiny.text(),
    tiny.LENGTHS,
    drop_condition,
    official_defects.OfficialDefects(**compat),
  )
  return make(record, np.random.default_rng(seed))


PREPARE = functools.partial(
  pair_loss.prepare_batch,
  masks=OBJECTIVE.masks,
  schedule=mask_schedules.cosine,
  image_tokens=tiny.IMAGE_TOKENS,
)


LOSS = functools.partial(
  pair_loss.loss, objective=OBJECTIVE, reply=tiny.LENGTHS.reply
)


def batch_of(*records, **compat):
  return batching.stack([rows_of(each, **compat) for each in records])


KEY = jax.random.key(4)


RECORDS = (
  record(0),
  record(1, 'no difference'),
  record(2),
  record(3),
  record(4, '', 'winner too weak'),
  record(5),
  record(6),
  record(7),
)
