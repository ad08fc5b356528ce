"""Rules that turn token logits into scores for choices.

The default rule, `constrained_logp`, is the log-probability of a reply that
must equal some choice: each token is sampled from the model's distribution,
restricted to the tokens that are possible at its place. So a score does not
depend on the length of its choice.

docs/answers.md compares the rules on a small Show-o with a byte-level BPE,
after three different training lengths, with 768 questions each. The test is
`pytest -m slow -s tests/sampling/test_trained_answers.py`.
"""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp

from hermesflow_jax.sampling import choice_tokens
from hermesflow_jax.sequences import attention_mask


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TokenLogits:
  """Logits at every token of a question's choices.

  Attributes:
    own: float32[..., C, A], logit for the token itself.
    possible: float32[..., C, A, C], logits for the tokens that the C choices
      have at this place.
    normalizer: float32[..., C, A], logsumexp over all V logits.
  """

  own: jax.Array
  possible: jax.Array
  normalizer: jax.Array


def token_logits(logits: jax.Array, own, possible) -> TokenLogits:
  """Gathers the logits that the rules need at a single place.

  Args:
    logits: float32[V], logits at this place.
    own: int32[], the choice's own token.
    possible: int32[C], the tokens of all C choices.
  """
  return TokenLogits(logits[own], logits[possible], jax.nn.logsumexp(logits))


def constrained_logp(
  logits: TokenLogits, choices: choice_tokens.Choices
) -> jax.Array:
  """Scores choices as replies that are restricted to the choices.

  Args:
    logits: logits at the tokens of a question's choices.
    choices: the question's token tree.

  Returns:
    float32[C], log-probabilities in nats. The probabilities add up to 1 over
    distinct choices.
  """
  possible = jnp.where(choices.siblings, logits.possible, attention_mask.LOWEST)
  return _sum_tokens(logits.own - jax.nn.logsumexp(possible, axis=-1), choices)


def sum_logp(logits: TokenLogits, choices: choice_tokens.Choices) -> jax.Array:
  """Scores choices by their log-probabilities; see `constrained_logp`."""
  return _sum_tokens(logits.own - logits.normalizer, choices)


def mean_logp(logits: TokenLogits, choices: choice_tokens.Choices) -> jax.Array:
  """Scores choices by their mean log-probability per token."""
  count = jnp.maximum(choices.valid.sum(-1), 1)
  return sum_logp(logits, choices) / count


def _sum_tokens(logps, choices):
  """Sums over each choice's tokens; LOWEST for a choice without tokens."""
  summed = jnp.where(choices.valid, logps, 0.0).sum(-1)
  return jnp.where(choices.valid.any(-1), summed, attention_mask.LOWEST)


RULES: dict[str, Callable[[TokenLogits, choice_tokens.Choices], jax.Array]] = {
  'constrained': constrained_logp,
  'sum': sum_logp,
  'mean': mean_logp,
  # `question_answering` subtracts the score for an image whose codes are all
  # masked (domain-conditional PMI, arXiv 2104.08315).
  'prior': sum_logp,
}
