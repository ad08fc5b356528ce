"""Scores the choices of a question by the tokens of a reply with them.

A choice is the tokens that a reply with these words has, its end included. The
choices of one question form a tree of tokens. Where all choices that are still
possible go on with the same token, nothing is decided; where they part, the
model decides among the tokens they go on with:

  red <end>              'red' and 'red and blue' part at the second token,
  red and blue <end>     'green' at the first
  green <end>

RULES are the ways to turn logits into scores. `constrained_logp`, the default, is
the log-probability of a reply that must be one of the choices, each token
drawn from the model's distribution over the tokens that are possible there:
its value depends on no length. (Measured on a small Show-o with a byte-level
BPE at three stages of its training, 768 questions each: `pytest -m slow -s
tests/sampling/test_trained_answers.py`. docs/answers.md has the table.)
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.sequences import text_tokenizer

NEG = jnp.finfo(jnp.float32).min


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Choices:
  """The choices of a question; of several with their axes in front.

  Attributes:
    tokens: int32[C, A], a choice a row, its end included, right-padded.
    valid: bool[C, A], False on pads.
    siblings: bool[C, A, C], True for the choices d whose token at a is
      possible there after the tokens of c before a; of choices with the same
      token only the first.
  """

  tokens: np.ndarray
  valid: np.ndarray
  siblings: np.ndarray


def encode_choices(
  text: text_tokenizer.TextTokenizer,
  choices: Sequence[Sequence[str]],
  whole: bool,
) -> Choices:
  """Returns the choices of N questions as they follow a prompt.

  Args:
    text: the text tokenizer.
    choices: of each question.
    whole: keep all tokens; otherwise those after the last place at which the
      choices of any question part are left out, as `constrained_logp` allows.

  Returns:
    Choices with [N] in front: C is the largest number of choices, A the most
    tokens.
  """
  known = list({choice: None for each in choices for choice in each})
  ids = dict(zip(known, text.encode_replies(known)))
  rows = [[(*ids[choice], text.eos) for choice in each] for each in choices]
  size = max(len(row) for each in rows for row in each)
  most = max(map(len, rows))
  tokens = np.zeros((len(rows), most, size), np.int32)
  valid = np.zeros((len(rows), most, size), bool)
  for n, each in enumerate(rows):
    for c, row in enumerate(each):
      tokens[n, c, : len(row)] = row
      valid[n, c, : len(row)] = True
  siblings = sibling_tokens(tokens, valid)
  if not whole:
    parts = (siblings.sum(-1) > 1).any((0, 1))
    size = int(parts.nonzero()[0].max(initial=0)) + 1
    tokens, valid, siblings = (
      a[:, :, :size] for a in (tokens, valid, siblings)
    )
  return Choices(tokens, valid, siblings)


def sibling_tokens(tokens: np.ndarray, valid: np.ndarray) -> np.ndarray:
  """Returns `ChoicesWorkload.siblings`, bool[N, C, A, C].

  Args:
    tokens: int[N, C, A].
    valid: bool[N, C, A].
  """
  count, many, size = tokens.shape
  siblings = np.zeros((count, many, size, many), bool)
  alike = np.broadcast_to(
    valid[:, :, None, 0] & valid[:, None, :, 0], (count, many, many)
  )
  # before[d, e]: choice e comes before choice d.
  before = np.tri(many, k=-1, dtype=bool)
  for a in range(size):
    # alike[n, c, d]: d has the tokens of c before a, and one at a.
    alike = alike & valid[:, :, None, a] & valid[:, None, :, a]
    same = tokens[:, :, None, a] == tokens[:, None, :, a]
    # Of choices with one token at a, the first stands for all: d does not if
    # there is an e before it with that token.
    earlier = (
      np.einsum('nce,ned,de->ncd', alike, same, before, dtype=np.int32) > 0
    )
    siblings[:, :, a] = alike & ~earlier
    alike = alike & same
  return siblings


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TokenLogits:
  """What a model says before each token of each choice of a question.

  Attributes:
    own: float32[..., C, A], the logit of the token itself.
    possible: float32[..., C, A, C], of the token of each choice at this place.
    whole: float32[..., C, A], the logarithm of the sum of exp(logit) over the
      whole vocabulary.
  """

  own: jax.Array
  possible: jax.Array
  whole: jax.Array


def token_logits(logits: jax.Array, own, possible) -> TokenLogits:
  """Picks what matters of the logits float32[V] at one place.

  Args:
    logits: at this place.
    own: int32[], the token of the choice itself.
    possible: int32[C], the tokens of all choices.
  """
  return TokenLogits(logits[own], logits[possible], jax.nn.logsumexp(logits))


def constrained_logp(logits: TokenLogits, choices: Choices) -> jax.Array:
  """Scores choices by a reply that must be one of them.

  Args:
    logits: of the tokens of one question's choices.
    choices: of this question.

  Returns:
    float32[C], log-probabilities; the probabilities of choices that differ
    add up to 1.
  """
  possible = jnp.where(choices.siblings, logits.possible, NEG)
  return _added(logits.own - jax.nn.logsumexp(possible, axis=-1), choices)


def sum_logp(logits: TokenLogits, choices: Choices) -> jax.Array:
  """Scores choices by their log-probabilities; see `constrained_logp`."""
  return _added(logits.own - logits.whole, choices)


def mean_logp(logits: TokenLogits, choices: Choices) -> jax.Array:
  """Scores choices by the mean log-probability of their tokens."""
  count = jnp.maximum(choices.valid.sum(-1), 1)
  return sum_logp(logits, choices) / count


def _added(logps, choices):
  """The sum of each choice's tokens; the lowest float without any."""
  summed = jnp.where(choices.valid, logps, 0.0).sum(-1)
  return jnp.where(choices.valid.any(-1), summed, NEG)


RULES: dict[str, Callable[[TokenLogits, Choices], jax.Array]] = {
  'constrained': constrained_logp,
  'sum': sum_logp,
  'mean': mean_logp,
  # Less the same score about an image whose codes are all masked, see
  # `unified_model.UnifiedModel.answer` (domain conditional PMI, arXiv 2104.08315).
  'prior': sum_logp,
}
