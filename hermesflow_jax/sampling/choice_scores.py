"""Scores of a question's choices, computed with the model."""

import jax
import jax.numpy as jnp

from hermesflow_jax.sampling import choice_rules
from hermesflow_jax.sampling import prefix_cache
from hermesflow_jax.sequences import attention_mask


def score_choices(model, image, prompt, length, choices, rule):
  """Scores the choices of a question about an image.

  The arguments `image`, `prompt` and `length` come from
  `image_to_text.mmu_parts`. Callers map over them with `jax.vmap`.

  Args:
    model: a ShowO.
    image: Rows [E], the image.
    prompt: Rows [P], the prompt, right-padded.
    length: int32[], prompt length without pads.
    choices: `choice_tokens.Choices` of the question.
    rule: a function in `choice_rules.RULES`, from (TokenLogits, Choices) to
      scores float32[C].

  Returns:
    float32[C], higher for likelier choices.
  """
  tokens = choices.tokens
  size = tokens.shape[-1]
  last, past, past_mask = prefix_cache.read_tokens(model, image, prompt, length)
  pick = choice_rules.token_logits
  logits = jax.vmap(pick, (None, 0, None))(
    model.logits(last), tokens[:, 0], tokens[:, 0]
  )
  logits = jax.tree.map(lambda a: a[:, None], logits)
  if size > 1:
    slots = jnp.arange(size - 1)
    positions = image.tokens.shape[0] + length + slots
    mask = [*past_mask, attention_mask.Interval(end=slots + 1)]

    def later_logits(choice):
      hidden, _ = model(choice[:-1], mask, positions, past=past)
      return jax.vmap(pick)(model.logits(hidden), choice[1:], tokens.T[1:])

    later = jax.vmap(later_logits)(tokens)
    logits = jax.tree.map(
      lambda a, b: jnp.concatenate([a, b], axis=1), logits, later
    )
  return rule(logits, choices)
