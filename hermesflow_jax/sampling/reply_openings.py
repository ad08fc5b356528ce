"""Probabilities that a reply begins as an answer is written.

The soft score of TIFA in GenEval 2: the probability of an answer is summed over
the first tokens of its written forms, e.g. 'Yes', 'yes', ' Yes' and ' yes'.
"""

from collections.abc import Sequence
import dataclasses
import functools
import itertools

import numpy as np

from hermesflow_jax.sampling import choice_rules
from hermesflow_jax.sampling import choice_tokens
from hermesflow_jax.sampling import question_answering
from hermesflow_jax.sequences import text_tokenizer


def probabilities(
  answerer: question_answering.QuestionAnswerer,
  images: np.ndarray,
  questions: Sequence[Sequence[dict]],
  forms: Sequence[Sequence[Sequence[str]]],
) -> list[list[float]]:
  """Computes the probability of an answer to each question.

  A token counts once, also if two forms begin with it.

  Args:
    answerer: answers questions by a model.
    images: int[N, I], image codes, or images that its reader reads.
    questions: N lists with TIFA records, whose choices are not used.
    forms: N lists with the written forms of the answer to each question.

  Returns:
    N lists with a number in [0, 1] per question: a share of all tokens that the
    model may write first.
  """
  counts = [len(records) for records in questions]
  if not sum(counts):
    return [[] for _ in questions]
  tokens = first_tokens(answerer.text, list(itertools.chain(*forms)))
  is_form = tokens >= 0
  # A form is a choice of a single token.
  ids, valid = np.maximum(tokens, 0)[..., None], is_form[..., None]
  siblings = choice_tokens.sibling_tokens(ids, valid)
  asking = dataclasses.replace(
    answerer, config=question_answering.AnswerConfig()
  )
  rows = asking.build_rows(images, list(itertools.chain(*questions)), counts)
  scores = asking.map_rows(
    functools.partial(answerer.sampler.score, choice_rules.sum_logp),
    rows,
    choice_tokens.Choices(ids, valid, siblings),
  )
  shares = np.where(is_form, np.exp(scores.astype(np.float64)), 0).sum(-1)
  values = iter(np.minimum(shares, 1).tolist())
  return [list(itertools.islice(values, count)) for count in counts]


def first_tokens(
  text: text_tokenizer.TextTokenizer, forms: Sequence[Sequence[str]]
) -> np.ndarray:
  """Returns the different first tokens of written forms: int32[Q, F].

  Args:
    text: text tokenizer.
    forms: the forms of each of Q answers. A form with a word that the tokenizer
      does not know has no token.

  Returns:
    Tokens, padded by -1.
  """
  rows = []
  for answer in forms:
    known = [form for form in answer if not text.unknown_words([form])]
    first = [ids[0] for ids in text.encode(known) if ids]
    rows.append(list(dict.fromkeys(first)))
  tokens = np.full((len(rows), max(1, *map(len, rows))), -1, np.int32)
  for number, row in enumerate(rows):
    tokens[number, : len(row)] = row
  return tokens
