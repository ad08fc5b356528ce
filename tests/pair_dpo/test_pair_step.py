"""A step of Pair-DPO: its memory, and parts of a batch that it refuses."""

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

  def temporary(program, *arguments):
    compiled = program.lower(*arguments, batch).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  def loss(rows):
    return functools.partial(tiny_pairs.LOSS, chunk_size=rows)

  labels = 2 * tiny_pairs.OBJECTIVE.masks * (tiny.IMAGE_TOKENS + 2)
  labels += 2 * tiny.LENGTHS.reply
  word = len(tiny_pairs.RECORDS) * vocab.size * 4

  # In one chunk those of all labels are there, which are half of the tokens;
  # the loss alone shows it.
  @jax.jit
  def in_one_chunk(model, batch):
    prepared = tiny_pairs.PREPARE(batch, tiny_pairs.KEY)
    return loss(labels)(model, model, prepared)[0]

  assert temporary(in_one_chunk, model) > labels * word
  assert labels * word > tokens.shape[1] * word / 2
  step = train_step.make_step(
    loss(2), optim, tiny_pairs.KEY, mesh, tiny_pairs.PREPARE
  )
  program, arguments = step.program_and_arguments(state, model)
  assert temporary(program, *arguments) < tokens.shape[1] * word / 3


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
