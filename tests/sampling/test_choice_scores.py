"""Scores of choices equal the log-probabilities of whole rows."""

import functools

import golden_rows
import jax
import numpy as np
import pytest

from hermesflow_jax.sampling import choice_rules
from hermesflow_jax.sampling import choice_scores
from hermesflow_jax.sampling import choice_tokens
from hermesflow_jax.sequences import attention_mask


def choices_of(tokens, valid=None):
  """The choices of one question with these tokens int[C, A]."""
  tokens = np.asarray(tokens, np.int32)
  valid = np.ones(tokens.shape, bool) if valid is None else np.asarray(valid)
  siblings = choice_tokens.sibling_tokens(tokens[None], valid[None])[0]
  return choice_tokens.Choices(tokens, valid, siblings)


def scored(rule, model, row, choices):
  """float32[C]."""
  return jax.jit(choice_scores.score_choices, static_argnames='rule')(
    model, *row, choices, rule=rule
  )


def test_answers_score_as_in_whole_rows(golden_policy, prompt):
  answers = np.array([[3, 0, 0], [8, 41, 0], [8, 5, 49], [0, 0, 0]], np.int32)
  sizes = np.array([1, 2, 3, 0])
  row = jax.tree.map(lambda a: a[1], prompt)
  actual = scored(
    choice_rules.sum_logp,
    golden_policy,
    row,
    choices_of(answers, np.arange(3) < sizes[:, None]),
  )
  for n, size in enumerate(sizes[:3]):
    tokens, begin = golden_rows.row_of(prompt, 1)
    tokens[begin : begin + size] = answers[n, :size]
    logps = jax.nn.log_softmax(golden_rows.row_logits(golden_policy, tokens))
    expected = logps[begin - 1 + np.arange(size), answers[n, :size]].sum()
    # Three log-probabilities, each within the logits' tolerance.
    np.testing.assert_allclose(actual[n], expected, atol=3e-4)


@pytest.mark.parametrize('rule', choice_rules.RULES.values())
def test_an_answer_without_tokens_never_wins(golden_policy, prompt, rule):
  row = jax.tree.map(lambda a: a[1], prompt)
  actual = scored(
    rule,
    golden_policy,
    row,
    choices_of(
      np.zeros((4, 3), np.int32),
      np.array([[True] * 3, [False] * 3, [True] * 3, [False] * 3]),
    ),
  )
  assert (actual[1::2] == attention_mask.LOWEST).all() and actual[
    0
  ] > attention_mask.LOWEST


def test_single_token_answers_score_as_the_next_token(golden_policy, prompt):
  row = jax.tree.map(lambda a: a[0], prompt)
  score = functools.partial(scored, choice_rules.sum_logp, golden_policy, row)
  short = score(choices_of([[3], [8]]))
  long = score(choices_of([[3, 0], [8, 0]], [[True, False]] * 2))
  np.testing.assert_allclose(short, long, atol=1e-5)
