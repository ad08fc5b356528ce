"""A step of Pair-DPO: meshes, parts of a batch, memory."""

import dataclasses
import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_pairs

from hermesflow_jax.models import showo
from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.pair_dpo import record_rows
from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import sharding
from hermesflow_jax.training import adamw
from hermesflow_jax.training import train_step


@functools.cache
def stepped(shape=(1, 1), accumulate=1, remat='none'):
  """(state, metrics) after a step from the same state on the same batch."""
  mesh = tiny.mesh(*shape)
  # With Adam's own epsilon a gradient that is only rounding is a whole step.
  optim = adamw.AdamWConfig(
    lr=1e-2, steps=10, warmup=0.0, eps=1e-2, accumulate=accumulate
  )
  policy, reference = (
    tiny.show_o(jax.random.key(n), remat=remat) for n in (0, 1)
  )
  state = train_step.state_from_model(policy, optim, mesh)
  reference = jax.device_put(reference, sharding.shardings(reference, mesh))
  step = train_step.make_step(
    tiny_pairs.LOSS, optim, tiny_pairs.KEY, mesh, tiny_pairs.PREPARE
  )
  batch = sharding.put_batch(tiny_pairs.batch_of(*tiny_pairs.RECORDS), mesh)
  state, metrics = jax.device_get(step(state, reference, batch))
  # What a model is called by how it is computed is of no interest.
  return jax.tree.leaves(state.model), metrics


@pytest.mark.parametrize(
  'changes',
  [
    {'shape': (8, 1), 'remat': 'full'},
    {'shape': (2, 4), 'accumulate': 2, 'remat': 'dots'},
    {'shape': (1, 8), 'accumulate': 8},
  ],
)
def test_meshes_parts_and_remat_are_one_step(changes):
  actual, metrics = stepped(**changes)
  expected, expected_metrics = stepped()
  tiny_pairs.assert_close(actual, expected, 1e-5)
  tiny_pairs.assert_close(metrics, expected_metrics, 1e-4)


def test_a_step_never_has_the_logits_of_all_tokens_in_memory():
  """By what the compiler sets aside for the whole of it."""
  vocab = dataclasses.replace(tiny.vocab(), codebook_size=8192)
  sizes = dataclasses.replace(tiny.sizes(remat='full'), vocab=vocab)
  make = record_rows.make_transform(vocab, tiny.text(), tiny.LENGTHS, 0.0)
  batch = batching.stack(
    [make(record, np.random.default_rng(0)) for record in tiny_pairs.RECORDS]
  )
  masked = jnp.ones(
    (len(tiny_pairs.RECORDS), tiny_pairs.OBJECTIVE.masks, tiny.IMAGE_TOKENS),
    bool,
  )
  tokens = jax.eval_shape(
    lambda: packing.pack_batch(vocab, batch['packed'], masked)[0]
  )
  model = jax.eval_shape(
    lambda key: showo.ShowO(sizes, rngs=nnx.Rngs(key)), tiny_pairs.KEY
  )
  mesh, optim = tiny.mesh(1, 1), adamw.AdamWConfig(lr=1e-2, steps=10)
  state = jax.eval_shape(
    functools.partial(train_step.state_from_model, optim=optim, mesh=mesh),
    model,
  )

  def temporary(rows):
    loss = functools.partial(tiny_pairs.LOSS, chunk_size=rows)
    step = train_step.make_step(
      loss, optim, tiny_pairs.KEY, mesh, tiny_pairs.PREPARE
    )
    program, arguments = step.program_and_arguments(state, model)
    compiled = program.lower(*arguments, batch).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  labels = 2 * tiny_pairs.OBJECTIVE.masks * (tiny.IMAGE_TOKENS + 2)
  labels += 2 * tiny.LENGTHS.reply
  word = len(tiny_pairs.RECORDS) * vocab.size * 4
  # In one chunk those of all labels are there, which are half of the tokens.
  assert temporary(labels) > labels * word > tokens.shape[1] * word / 2
  assert temporary(2) < tokens.shape[1] * word / 3


def test_parts_of_a_batch_want_a_loss_that_adds_up():
  optim = adamw.AdamWConfig(lr=1e-2, steps=10, accumulate=2)
  with pytest.raises(ValueError, match='accumulate must be 1 .*, got 2'):
    train_step.make_step(
      tiny_pairs.LOSS, optim, tiny_pairs.KEY, tiny.mesh(1, 1)
    )
  step = train_step.make_step(
    tiny_pairs.LOSS, optim, tiny_pairs.KEY, tiny.mesh(1, 1), tiny_pairs.PREPARE
  )
  policy = tiny.show_o(jax.random.key(0))
  state = train_step.state_from_model(policy, optim, tiny.mesh(1, 1))
  with pytest.raises(ValueError, match='accumulate=2 times data=1, got 3'):
    step(state, policy, tiny_pairs.batch_of(*tiny_pairs.RECORDS[:3]))
  # Each part has rows for every device.
  mesh = tiny.mesh(8, 1)
  step = train_step.make_step(
    tiny_pairs.LOSS, optim, tiny_pairs.KEY, mesh, tiny_pairs.PREPARE
  )
  batch = sharding.put_batch(tiny_pairs.batch_of(*tiny_pairs.RECORDS), mesh)
  with pytest.raises(ValueError, match='accumulate=2 times data=8, got 8'):
    step(train_step.state_from_model(policy, optim, mesh), policy, batch)
