"""Log-likelihoods of the choices of a question."""

import jax
import jax.numpy as jnp

from hermesflow_jax.sampling import choice_rules
from hermesflow_jax.sampling import prefix_cache
from hermesflow_jax.sequences import attention_mask


def score_choices(model, image, prompt, length, choices, rule):
  """Scores the choices of one question by what a reply would say.

  Args:
    model: a ShowO.
    image: Rows [E], prompt: Rows [P], right-padded, length: int32[], its
      tokens that are not pads; all of `image_to_text.mmu_parts`.
    choices: `choice_rules.Choices` of the question.
    rule: (`choice_rules.TokenLogits`, Choices) -> float32[C], of `choice_rules.RULES`.

  Returns:
    float32[C], higher for likelier choices.
  """
  tokens = choices.tokens
  size = tokens.shape[-1]
  last, past, seen = prefix_cache.read_tokens(model, image, prompt, length)
  pick = choice_rules.token_logits
  logits = jax.vmap(pick, (None, 0, None))(
    model.logits(last), tokens[:, 0], tokens[:, 0]
  )
  logits = jax.tree.map(lambda a: a[:, None], logits)
  if size > 1:
    slots = jnp.arange(size - 1)
    positions = image.tokens.shape[0] + length + slots
    sees = [*seen, attention_mask.Interval(end=slots + 1)]

    def rest(choice):
      hidden, _ = model(choice[:-1], sees, positions, past=past)
      return jax.vmap(pick)(model.logits(hidden), choice[1:], tokens.T[1:])

    later = jax.vmap(rest)(tokens)
    logits = jax.tree.map(
      lambda a, b: jnp.concatenate([a, b], axis=1), logits, later
    )
  return rule(logits, choices)
