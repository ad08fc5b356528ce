"""Shared prefixes are computed once."""

import dataclasses

from flax import nnx
import golden_rows
import jax
import jax.numpy as jnp

from hermesflow_jax.sampling import autoregressive
from hermesflow_jax.sampling import choice_rules
from hermesflow_jax.sampling import choice_scores
from hermesflow_jax.sampling import choice_tokens
from hermesflow_jax.sampling import prefix_cache


def flops(function, *arguments) -> float:
  """Floating-point operations of a compiled function."""
  return jax.jit(function).lower(*arguments).compile().cost_analysis()['flops']


def test_what_is_shared_is_computed_once(golden_policy, prompt):
  """Candidates share image and prompt, questions the image."""
  count = 6
  # The compiler counts the body of a loop once: there is none over layers.
  policy = nnx.clone(golden_policy)
  decoder = policy.decoder.config
  policy.decoder.config = dataclasses.replace(decoder, unroll=decoder.layers)
  image, row, length = jax.tree.map(lambda a: a[0], prompt)

  def replies(model, keys):
    def one(key):
      return autoregressive.sample_text(
        model,
        key,
        image,
        row,
        length,
        max_new=1,
        temperature=1.0,
        top_k=1,
        most=1,
        stop=-1,
      )

    return jax.vmap(one)(keys)

  def answers(model, rows, answers):
    def one(row, answers):
      choices = choice_tokens.Choices(
        answers, answers >= 0, jnp.ones((2, 1, 2), bool)
      )
      return choice_scores.score_choices(
        model, image, row, length, choices, choice_rules.constrained_logp
      )

    return jax.vmap(one)(rows, answers)

  def read(model, rows):
    return prefix_cache.prefill(model, rows)[0]

  once = flops(read, policy, image)
  of_prompt = flops(read, policy, row)
  actual = flops(replies, policy, golden_rows.keys(count))
  # A reply of one token: `count` tokens beside the prefix, and the head.
  assert actual < once + 1.5 * of_prompt + 0.1 * count * once
  rows = jax.tree.map(lambda a: jnp.stack([a] * count), row)
  actual = flops(answers, policy, rows, jnp.zeros((count, 2, 1), jnp.int32))
  assert actual < once + 1.5 * count * of_prompt
