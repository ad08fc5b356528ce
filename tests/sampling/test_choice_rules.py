"""Laws of the scores of choices, with the tokens of a byte-level BPE."""

import itertools
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import phi_tokens
import pytest

from hermesflow_jax.sampling import choice_rules
from hermesflow_jax.sampling import choice_tokens
from hermesflow_jax.sequences import text_tokenizer

CHOICES = ['red', 'red and blue', 'dark red', 'green']

token_logits = jax.jit(choice_rules.token_logits)
constrained_logp = jax.jit(choice_rules.constrained_logp)


@pytest.fixture(scope='module')
def text():
  """A byte-level BPE in Phi-1.5's form."""
  return phi_tokens.tokenizer()


def logits_of(rows, whole):
  """`TokenLogits` of a table of logits: whole[prefix] is float[V]."""

  def at(row, a):
    return whole[tuple(row[:a])]

  many, size = rows.tokens.shape
  picked = [
    [
      token_logits(at(rows.tokens[c], a), rows.tokens[c, a], rows.tokens[:, a])
      for a in range(size)
    ]
    for c in range(many)
  ]
  return jax.tree.map(
    lambda *leaves: np.stack(leaves).reshape(many, size, *leaves[0].shape),
    *itertools.chain(*picked),
  )


def random_table(rows, seed, vocabulary):
  """Random logits after each beginning of a choice."""
  rng = np.random.default_rng(seed)
  table = {}
  for row in rows.tokens:
    for a in range(len(row)):
      table.setdefault(tuple(row[:a]), rng.normal(size=vocabulary))
  return table


def encoded(text, choices, keep_all=True):
  """The `ChoicesWorkload` of one question."""
  rows = choice_tokens.encode_choices(text, [choices], keep_all)
  return jax.tree.map(lambda a: a[0], rows)


def test_choices_have_the_tokens_that_follow_a_prompt(text):
  prompt = text_tokenizer.user_turn('what color is the bench?')
  (before,) = text.encode([prompt])
  for choice in (*CHOICES, "it's 3", '"quoted"', 'Größe', 'a-b', '12'):
    (row,) = text.encode([f'{prompt} {choice}'])
    (tokens,) = text.encode_replies([choice])
    assert before + tokens == row
    assert text.decode_reply([*tokens, text.eos]) == choice
  assert text.encode_replies(['red']) == [[2266]]
  assert text.encode(['red']) == [[445]]


def test_constrained_scores_are_those_of_a_tree_of_tokens(text):
  rows = encoded(text, CHOICES)
  table = random_table(rows, 0, 60_000)
  scores = constrained_logp(logits_of(rows, table), rows)
  # A reply is drawn token by token among those that a choice has there.
  real = [tuple(r[v]) for r, v in zip(rows.tokens, rows.valid)]
  for row, score in zip(real, scores):
    expected = 0.0
    for a in range(len(row)):
      possible = {other[a] for other in real if other[:a] == row[:a]}
      weights = {t: np.exp(table[row[:a]][t]) for t in possible}
      expected += np.log(weights[row[a]] / sum(weights.values()))
    np.testing.assert_allclose(score, expected, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(np.exp(scores).sum(), 1.0, rtol=1e-4)


def test_a_choice_without_a_rival_costs_nothing_for_its_length(text):
  """What no other choice shares after the first token adds exactly 0."""
  rows = encoded(text, ['green', 'an unusually long description of a bench'])
  table = random_table(rows, 1, 60_000)
  scores = constrained_logp(logits_of(rows, table), rows)
  first = rows.tokens[:, 0]
  expected = jax.nn.log_softmax(jnp.asarray(table[()])[first])
  np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)


def test_tokens_that_decide_nothing_are_left_out(text):
  short = choice_tokens.encode_choices(
    text, [['yes', 'no'], ['green', 'an unusually long word']], keep_all=False
  )
  assert short.tokens.shape == (2, 2, 1)
  both = choice_tokens.encode_choices(
    text, [['yes', 'no'], CHOICES], keep_all=False
  )
  assert both.tokens.shape == (2, 4, 2)
  rows = jax.tree.map(lambda a: a[1], both)
  table = random_table(encoded(text, CHOICES), 2, 60_000)
  scores = constrained_logp(logits_of(rows, table), rows)
  whole = encoded(text, CHOICES)
  expected = constrained_logp(logits_of(whole, table), whole)
  np.testing.assert_array_equal(scores, expected)


def test_siblings_are_the_first_choices_with_each_next_token():
  rng = np.random.default_rng(5)
  for _ in range(100):
    shape = rng.integers(1, 6, 3)
    valid = (
      np.arange(shape[2]) < rng.integers(0, shape[2] + 1, shape[:2])[..., None]
    )
    tokens = np.where(valid, rng.integers(0, 3, shape), 0)
    siblings = choice_tokens.sibling_tokens(tokens, valid)
    for n, c, a, d in np.ndindex(siblings.shape):
      rows = [tuple(r[v]) for r, v in zip(tokens[n], valid[n])]
      alike = [
        e
        for e, row in enumerate(rows)
        if len(row) > a and rows[c][:a] == row[:a] and len(rows[c]) > a
      ]
      expected = d in alike and all(
        rows[e][a] != rows[d][a] for e in alike if e < d
      )
      assert siblings[n, c, a, d] == expected


@pytest.mark.parametrize('keep_all', [False, True])
def test_hundreds_of_long_choices_take_no_minutes(keep_all):
  """399 choices of 400 words; a cubic count of pairs took 150 seconds."""
  rng = np.random.default_rng(6)
  replies = [[2] * 300 + list(rng.integers(3, 9, 100)) for _ in range(399)]
  text = types.SimpleNamespace(eos=1, encode_replies=lambda texts: replies)
  start = time.process_time()
  rows = choice_tokens.encode_choices(
    text, [[str(n) for n in range(399)]], keep_all
  )
  assert time.process_time() - start < 10
  assert rows.siblings.shape == (1, 399, 401 if keep_all else 307, 399)


def test_choices_that_begin_alike_are_told_apart_by_their_ends(text):
  rows = encoded(text, ['red', 'red and blue'])
  for likelier in (0, 1):
    table = random_table(rows, 3, 60_000)
    table[tuple(rows.tokens[0, :1])][rows.tokens[likelier, 1]] += 20.0
    scores = constrained_logp(logits_of(rows, table), rows)
    assert scores.argmax() == likelier


def test_choices_with_the_same_tokens_have_the_same_score(text):
  rows = encoded(text, ['red', 'green', 'red'])
  scores = constrained_logp(
    logits_of(rows, random_table(rows, 4, 60_000)), rows
  )
  assert scores[0] == scores[2]
  np.testing.assert_allclose(np.exp(scores[:2]).sum(), 1.0, rtol=1e-4)


# One to eight tokens and their end; no two begin with the same.
LENGTHS = [
  'green',
  'dark red',
  'a large bench',
  'on the left of',
  'two people and a dog',
  'something that nobody ever saw before',
]


@pytest.mark.parametrize(
  'rule, fair', [('constrained', True), ('mean', True), ('sum', False)]
)
@pytest.mark.parametrize('count', [2, 3, 6])
def test_a_random_model_is_at_chance_whatever_the_lengths(
  text, rule, fair, count
):
  """Each choice is chosen as often as any; by `sum` the shortest wins."""
  rows = encoded(text, LENGTHS[:: 6 // count])
  draws, chosen = 400, np.zeros(count)
  size = rows.tokens.shape[1]
  score = jax.jit(choice_rules.RULES[rule])
  for seed in range(draws):
    rng = np.random.default_rng(seed)
    # Independent logits at each place; over 58,498 ids their sum is no chance.
    own = rng.normal(size=(count, size))
    possible = np.broadcast_to(own.T, (count, size, count)).copy()
    possible[:, 0] = own[:, 0]
    whole = np.full((count, size), np.log(58_498) + 0.5)
    logits = choice_rules.TokenLogits(own, possible, whole)
    chosen[int(score(logits, rows).argmax())] += 1
  share = chosen / draws
  # Four standard errors of a share.
  error = 4 * np.sqrt((1 - 1 / count) / count / draws)
  if fair and (rule == 'constrained' or count == 2):
    assert np.abs(share - 1 / count).max() < error
  elif not fair:
    assert share[0] > 0.95
