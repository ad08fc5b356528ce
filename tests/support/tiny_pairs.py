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
  """A homologous record with codes of seed `n`."""
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


def row_of(record, drop_condition=0.0, seed=0, **compat):
  """The row of a record, as long as the tiny lengths allow."""
  make_row = record_rows.make_transform(
    tiny.vocab(),
    tiny.text(),
    tiny.LENGTHS,
    drop_condition,
    official_defects.OfficialDefects(**compat),
  )
  return make_row(record, np.random.default_rng(seed))


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
  """The stacked rows of records."""
  return batching.stack([row_of(r, **compat) for r in records])


@functools.cache
def loss_and_gradient():
  """The compiled loss of a batch that is not prepared, with its gradient."""

  def loss(model, reference, batch, key):
    return LOSS(model, reference, PREPARE(batch, key))

  return jax.jit(jax.value_and_grad(loss, has_aux=True))


@functools.cache
def models():
  """(policy, reference)."""
  return tuple(tiny.show_o(jax.random.key(n)) for n in (0, 1))


def assert_close(actual, expected, atol=2e-5):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=atol, rtol=1e-4),
    actual,
    expected,
  )


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


# With ids, and losing captions of different lengths.
NAMED = tuple(
  r | {'id': f'r{n}', 'caption_lose': 'green star' + ' one' * (n % 3)}
  for n, r in enumerate(RECORDS)
)


def named_transform(drop_condition):
  """The function from the records of `NAMED` to their rows."""
  fit = record_rows.packed_lengths_of(
    tiny.vocab(), tiny.text(), tiny.LENGTHS, NAMED
  )
  return record_rows.make_transform(
    tiny.vocab(), tiny.text(), tiny.LENGTHS, drop_condition, fit=fit
  )
