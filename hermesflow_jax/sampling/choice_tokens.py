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
import itertools
import operator

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
  if not keep_all:
    size = 1 + max(map(_last_parting, rows))
  count = max(map(len, rows))
  tokens = np.zeros((len(rows), count, size), np.int32)
  valid = np.zeros((len(rows), count, size), bool)
  for n, question in enumerate(rows):
    for c, row in enumerate(question):
      row = row[:size]
      tokens[n, c, : len(row)] = row
      valid[n, c, : len(row)] = True
  siblings = sibling_tokens(tokens, valid)
  return Choices(tokens, valid, siblings)


def _last_parting(rows: Sequence[tuple[int, ...]]) -> int:
  """Returns the last place at which two of the rows part; 0 for none."""
  last, rows = 0, sorted(rows)
  # The neighbours in sorted order share the longest beginnings.
  for row, other in itertools.pairwise(rows):
    differs = map(operator.ne, row, other)
    last = max(last, next((a for a, differ in enumerate(differs) if differ), 0))
  return last


def sibling_tokens(tokens: np.ndarray, valid: np.ndarray) -> np.ndarray:
  """Computes `Choices.siblings` of N questions.

  Args:
    tokens: int[N, C, A], tokens of the choices.
    valid: bool[N, C, A], False on pads.

  Returns:
    bool[N, C, A, C].
  """
  siblings = np.zeros((*tokens.shape, tokens.shape[1]), bool)
  # Number of the tree node that a choice has reached; the questions have trees
  # of their own.
  node = np.broadcast_to(np.arange(len(tokens))[:, None], valid.shape[:2])
  alive = np.ones(valid.shape[:2], bool)
  kinds = int(tokens.max(initial=0)) + 1
  for a in range(tokens.shape[2]):
    alive = alive & valid[:, :, a]
    # The first choice at a node with a token stands for all of them.
    step = np.where(alive, node.astype(np.int64) * kinds + tokens[:, :, a], -1)
    _, first, child = np.unique(step, return_index=True, return_inverse=True)
    stands = np.zeros(step.size, bool)
    stands[first] = True
    stands = stands.reshape(step.shape) & alive
    siblings[:, :, a] = (
      (node[:, :, None] == node[:, None, :])
      & alive[:, :, None]
      & stands[:, None, :]
    )
    node = child.reshape(step.shape)
  return siblings
