"""Rules that turn token logits into scores of choices.

The default rule, `constrained_logp`, is the log-probability of a reply that
must equal some choice: each token is drawn from the model's distribution
restricted to the tokens that are possible at its place. So a score does not
depend on the length of a choice.

The rules were compared on a small Show-o with a byte-level BPE at three stages
of its training, with 768 questions at each stage: `pytest -m slow -s
tests/sampling/test_trained_answers.py`; docs/answers.md has the table.
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
  """Logits at every token of every choice of a question.

  Attributes:
    own: float32[..., C, A], logit of the token itself.
    possible: float32[..., C, A, C], logits of the tokens that the choices have
      at this place.
    whole: float32[..., C, A], logsumexp of the logits of all V tokens.
  """

  own: jax.Array
  possible: jax.Array
  whole: jax.Array


def token_logits(logits: jax.Array, own, possible) -> TokenLogits:
  """Gathers the logits that the rules need at a single place.

  Args:
    logits: float32[V], logits at this place.
    own: int32[], token of the choice itself.
    possible: int32[C], tokens of all choices.
  """
  return TokenLogits(logits[own], logits[possible], jax.nn.logsumexp(logits))


def constrained_logp(
  logits: TokenLogits, choices: choice_tokens.Choices
) -> jax.Array:
  """Scores choices by the probability of a reply restricted to them.

  Args:
    logits: logits at the tokens of the choices of a question.
    choices: token tree of this question.

  Returns:
    float32[C], log-probabilities in nats; the probabilities of distinct
    choices add up to 1.
  """
  possible = jnp.where(choices.siblings, logits.possible, attention_mask.LOWEST)
  return _sum_tokens(logits.own - jax.nn.logsumexp(possible, axis=-1), choices)


def sum_logp(logits: TokenLogits, choices: choice_tokens.Choices) -> jax.Array:
  """Scores choices by their log-probabilities; see `constrained_logp`."""
  return _sum_tokens(logits.own - logits.whole, choices)


def mean_logp(logits: TokenLogits, choices: choice_tokens.Choices) -> jax.Array:
  """Scores choices by the mean log-probability of their tokens."""
  count = jnp.maximum(choices.valid.sum(-1), 1)
  return sum_logp(logits, choices) / count


def _sum_tokens(logps, choices):
  """Sums over the tokens of each choice; LOWEST for a choice without tokens."""
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
