"""Loss of fine-tuning, and codes that devices put into rows."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sampling import batched
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.training import image_codes
from hermesflow_jax.training import pretraining
from hermesflow_jax.training import task_loss

MIXTURE = pretraining.TaskMixture(t2i=0.5, mmu=2.0, lm=0.25)
WEIGHTS = (('lm', 0.25), ('mmu', 2.0), ('t2i', 0.5))
KEY = jax.random.key(3)
SIZES = {'t2i': 8, 'mmu': 4, 'lm': 2}


@functools.cache
def rows():
  make = tiny.flows(pretraining.TaskMixture())
  all_rows = [
    make(record, np.random.default_rng(n))
    for n, record in enumerate(tiny.records(8))
  ]
  return {
    task: batching.stack([row[task] for row in all_rows[:count]])
    for task, count in SIZES.items()
  }


def prepared(batch, key=KEY):
  return task_loss.prepare_batch(
    batch,
    key,
    vocab=tiny.vocab(),
    image_tokens=tiny.IMAGE_TOKENS,
    schedule=mask_schedules.cosine,
  )


def loss_of(model, batch, chunk_size=2):
  return task_loss.loss(
    model,
    None,
    batch,
    weights=WEIGHTS,
    image_tokens=tiny.IMAGE_TOKENS,
    chunk_size=chunk_size,
  )


@functools.cache
def model():
  return tiny.show_o(jax.random.key(0))


@functools.cache
def expected():
  """The loss of pretraining, which keeps all logits and dense masks."""
  return jax.jit(
    lambda model: pretraining.loss(
      model,
      None,
      rows(),
      KEY,
      mixture=MIXTURE,
      schedule=mask_schedules.cosine,
      image_tokens=tiny.IMAGE_TOKENS,
      reply=tiny.LENGTHS.reply,
    )
  )(model())


def test_the_loss_is_that_of_pretraining():
  total, metrics = jax.jit(lambda m: loss_of(m, prepared(rows())))(model())
  np.testing.assert_allclose(total, expected()[0], rtol=1e-5)
  assert metrics.keys() == expected()[1].keys()
  for name, value in expected()[1].items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-5)


def test_losses_of_the_parts_of_a_batch_add_up():
  batch = prepared(rows())
  halves = [jax.tree.map(lambda a, n=n: a[n::2], batch) for n in range(2)]
  part = jax.jit(loss_of)
  total = sum(part(model(), half)[0] for half in halves)
  np.testing.assert_allclose(total, expected()[0], rtol=1e-5)


def test_rows_without_labels_count_for_nothing():
  batch = rows()
  blank = dataclasses.replace(
    batch['mmu'], labels=np.full_like(batch['mmu'].labels, token_rows.UNSCORED)
  )
  _, shares = prepared(batch | {'mmu': blank})['mmu']
  assert np.isfinite(shares).all()
  _, shares = prepared(batch)['lm']
  labels = prepared(batch)['lm'][0].labels
  np.testing.assert_allclose(shares, 1 / (labels != token_rows.UNSCORED).sum())


@pytest.mark.parametrize('data, devices', [(2, 1), (2, 2)])
def test_devices_put_the_codes_of_pixels_into_rows(data, devices):
  mesh, vocab = tiny.mesh(data, devices), tiny.vocab()
  pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8)
  codes = np.asarray(jax.jit(batched.encode_batch)(tiny.tokenizer(), pixels))
  tokenizer = jax.device_put(tiny.tokenizer(), sharding.replicated(mesh))
  batch = {
    't2i': {'rows': rows()['t2i'], 'pixels': pixels},
    'mmu': {'rows': rows()['mmu'], 'pixels': pixels[:4]},
    'lm': {'rows': rows()['lm']},
  }
  encode = image_codes.make_encoder(tokenizer, vocab, mesh, chunk=2)
  actual = encode(sharding.put_batch(batch, mesh))
  ids = codes + vocab.image_offset
  begin = tiny.LENGTHS.max_text + 2
  for field in ('tokens', 'labels'):
    image = getattr(actual['t2i'], field)[:, begin : begin + 4]
    np.testing.assert_array_equal(image, ids)
    other = np.delete(getattr(actual['t2i'], field), range(begin, begin + 4), 1)
    before = np.delete(
      getattr(rows()['t2i'], field), range(begin, begin + 4), 1
    )
    np.testing.assert_array_equal(other, before)
  np.testing.assert_array_equal(actual['mmu'].tokens[:, 2:6], ids[:4])
  np.testing.assert_array_equal(actual['mmu'].labels, rows()['mmu'].labels)
  np.testing.assert_array_equal(actual['lm'].tokens, rows()['lm'].tokens)
  assert jnp.all(actual['t2i'].tokens < vocab.size)
