"""Token trees of answer choices, built on the host.

A choice is tokenized as a reply with these words, including the end token. A
question's choices form a token tree:

  red <end>              'red' and 'red and blue' part at the second token,
  red and blue <end>     'green' at the first
  green <end>

Where all remaining choices continue with the same token, the token decides
nothing; where they part, the model decides among their next tokens.
"""

from collections.abc import Sequence
import dataclasses

import jax
import numpy as np

from hermesflow_jax.sequences import text_tokenizer


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Choices:
  """Token tree of a question's choices; a batch has leading axes.

  Attributes:
    tokens: int32[C, A], tokens of each choice and the end, right-padded.
    valid: bool[C, A], False on pads.
    siblings: bool[C, A, C], for choice c and place a: True for choices d whose
      first a tokens equal those of c. Among choices with the same token at a,
      only the first is True.
  """

  tokens: np.ndarray
  valid: np.ndarray
  siblings: np.ndarray


def encode_choices(
  text: text_tokenizer.TextTokenizer,
  choices: Sequence[Sequence[str]],
  keep_all: bool,
) -> Choices:
  """Tokenizes the choices of N questions as replies.

  Args:
    text: text tokenizer.
    choices: N lists with choices.
    keep_all: keep all tokens. Otherwise drop the tokens after the last place at
      which the choices of any question part; `constrained_logp` allows this.

  Returns:
    Choices with a leading axis [N], padded to the largest C and A.
  """
  unique = list(dict.fromkeys(word for words in choices for word in words))
  ids = dict(zip(unique, text.encode_replies(unique)))
  rows = [[(*ids[word], text.eos) for word in words] for words in choices]
  size = max(len(row) for question in rows for row in question)
  count = max(map(len, rows))
  tokens = np.zeros((len(rows), count, size), np.int32)
  valid = np.zeros((len(rows), count, size), bool)
  for n, question in enumerate(rows):
    for c, row in enumerate(question):
      tokens[n, c, : len(row)] = row
      valid[n, c, : len(row)] = True
  siblings = sibling_tokens(tokens, valid)
  if not keep_all:
    parts = (siblings.sum(-1) > 1).any((0, 1))
    size = int(parts.nonzero()[0].max(initial=0)) + 1
    tokens, valid, siblings = (
      a[:, :, :size] for a in (tokens, valid, siblings)
    )
  return Choices(tokens, valid, siblings)


def sibling_tokens(tokens: np.ndarray, valid: np.ndarray) -> np.ndarray:
  """Computes `Choices.siblings` of N questions.

  Args:
    tokens: int[N, C, A], tokens of the choices.
    valid: bool[N, C, A], False on pads.

  Returns:
    bool[N, C, A, C].
  """
  count, choices, size = tokens.shape
  siblings = np.zeros((count, choices, size, choices), bool)
  alike = np.broadcast_to(
    valid[:, :, None, 0] & valid[:, None, :, 0], (count, choices, choices)
  )
  # before[d, e]: choice e precedes choice d.
  before = np.tri(choices, k=-1, dtype=bool)
  for a in range(size):
    # alike[n, c, d]: d shares the first a tokens with c and has a token at a.
    alike = alike & valid[:, :, None, a] & valid[:, None, :, a]
    same = tokens[:, :, None, a] == tokens[:, None, :, a]
    # The first choice with a token stands for all: d does not count if an
    # earlier e has the same token.
    earlier = (
      np.einsum('nce,ned,de->ncd', alike, same, before, dtype=np.int32) > 0
    )
    siblings[:, :, a] = alike & ~earlier
    alike = alike & same
  return siblings
