"""Text: the official replies and the laws of token-by-token sampling."""

import functools

import golden_rows
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hermesflow_jax.sampling import autoregressive


@functools.partial(jax.jit, static_argnames=('most', 'stretch'))
def reply(
  model, keys, prompt, temperature, top_k, stop, allowed, most=1_000, stretch=16
):
  """`sample_text` over a batch, 12 tokens."""

  def one(key, image, row, length):
    return autoregressive.sample_text(
      model,
      key,
      image,
      row,
      length,
      max_new=12,
      temperature=temperature,
      top_k=top_k,
      most=most,
      stop=stop,
      allowed=allowed,
      stretch=stretch,
    )

  return jax.vmap(one)(keys, *prompt)


def test_greedy_text_is_the_official_one(golden, golden_policy, prompt):
  every = np.ones(golden_policy.config.vocab.size, bool)
  actual = reply(golden_policy, golden_rows.keys(3), prompt, 1.0, 1, -1, every)
  np.testing.assert_array_equal(actual, golden['mmu_gen_tokens'])


def test_cached_text_equals_text_of_whole_rows(golden_policy, prompt):
  every = np.ones(golden_policy.config.vocab.size, bool)
  actual = reply(golden_policy, golden_rows.keys(3), prompt, 0.7, 5, -1, every)[
    0
  ]
  tokens, begin = golden_rows.row_of(prompt, 0)
  pick = jax.jit(autoregressive.pick_token, static_argnums=4)
  for i, key in enumerate(jax.random.split(golden_rows.keys(3)[0], 12)):
    logits = golden_rows.row_logits(golden_policy, tokens)[begin + i - 1]
    tokens[begin + i] = pick(key, logits, 0.7, 5, logits.size)
  np.testing.assert_array_equal(actual, tokens[begin:])


def text_reply(model, keys, prompt, temperature, top_k, stop):
  return reply(model, keys, prompt, temperature, top_k, stop, None)


def test_replies_are_text_alone(golden_policy, prompt):
  many = jax.tree.map(lambda a: np.repeat(a, 20, axis=0), prompt)
  actual = text_reply(golden_policy, golden_rows.keys(60), many, 5.0, 1_000, -1)
  assert actual.max() < golden_policy.config.vocab.text_size
  assert len(np.unique(actual)) > 25


def test_a_reply_ends_at_its_stop(golden_policy, prompt):
  many = jax.tree.map(lambda a: np.repeat(a, 20, axis=0), prompt)
  free = np.asarray(
    text_reply(golden_policy, golden_rows.keys(60), many, 1.0, 1, -1)
  )
  stop = int(free[0, 4])
  actual = text_reply(golden_policy, golden_rows.keys(60), many, 1.0, 1, stop)
  ended = np.cumsum(free == stop, axis=-1) > 0
  assert ended.any() and not ended.all()
  np.testing.assert_array_equal(actual, np.where(ended, stop, free))


@pytest.mark.parametrize('stretch', [1, 5])
def test_looking_for_the_end_changes_no_token(golden_policy, prompt, stretch):
  many = jax.tree.map(lambda a: np.repeat(a, 20, axis=0), prompt)
  arguments = golden_policy, golden_rows.keys(60), many, 1.5, 20
  stop = int(reply(*arguments, -1, None)[0, 3])
  expected = reply(*arguments, stop, None)
  actual = reply(*arguments, stop, None, stretch=stretch)
  np.testing.assert_array_equal(actual, expected)


class Counted:
  """A model that counts the calls that are executed."""

  def __init__(self, model):
    self.model, self.calls = model, 0

  def __getattr__(self, name):
    return getattr(self.model, name)

  def __call__(self, tokens, mask, *rest, **more):
    def count():
      self.calls += 1

    jax.debug.callback(count)
    return self.model(tokens, mask, *rest, **more)


@pytest.mark.parametrize('stretch, expected', [(1, 5), (4, 8)])
def test_a_reply_that_has_ended_is_not_computed_on(
  golden_policy, prompt, stretch, expected
):
  """The fifth greedy token is the stop here."""
  row = jax.tree.map(lambda a: a[0], prompt)
  many = jax.tree.map(lambda a: np.repeat(a, 20, axis=0), prompt)
  free = text_reply(golden_policy, golden_rows.keys(60), many, 1.0, 1, -1)[0]
  stop = int(free[4])
  assert stop not in free[:4]
  counted = Counted(golden_policy)

  @jax.jit
  def sample(key, row):
    return autoregressive.sample_text(
      counted,
      key,
      *row,
      max_new=12,
      temperature=1.0,
      top_k=1,
      most=1,
      stop=stop,
      stretch=stretch,
    )

  jax.block_until_ready(sample(golden_rows.keys(1)[0], row))
  jax.effects_barrier()
  # Two calls read the image and the prompt.
  assert counted.calls == 2 + expected


class Marked:
  """A model that records the axes over which JAX maps a token's step."""

  def __init__(self, model):
    self.model, self.axes = model, []

  def __getattr__(self, name):
    return getattr(self.model, name)

  def __call__(self, tokens, *rest, **more):
    @jax.custom_batching.custom_vmap
    def same(hidden):
      return hidden

    @same.def_vmap
    def mapped(size, is_mapped, hidden):
      self.axes.append(size)
      return same(hidden), *is_mapped

    hidden, cache = self.model(tokens, *rest, **more)
    return (same(hidden) if len(tokens) == 1 else hidden), cache


@pytest.mark.parametrize('stretch', [4, 16])
def test_a_token_is_mapped_once_over_each_axis(golden_policy, prompt, stretch):
  """JAX need not find out first which parts of the loop state are mapped."""
  marked = Marked(golden_policy)
  row = jax.tree.map(lambda a: a[0], prompt)

  def sample(key):
    return autoregressive.sample_text(
      marked,
      key,
      *row,
      max_new=12,
      temperature=1.0,
      top_k=1,
      most=1,
      stop=0,
      stretch=stretch,
    )

  keys = golden_rows.keys(6).reshape(2, 3)
  actual = jax.eval_shape(jax.vmap(jax.vmap(sample)), keys)
  assert actual.shape == (2, 3, 12)
  assert marked.axes == [3, 2]


@pytest.mark.parametrize('most', [3, 5])
def test_tokens_are_drawn_in_proportion(most):
  logits, count = jnp.array([0.0, 2.0, -1.0, 1.5, 1.0]), 20_000
  pick = functools.partial(autoregressive.pick_token, most=most)
  pick = jax.jit(jax.vmap(pick, (0, None, None, None)))
  actual = pick(golden_rows.keys(count), logits, 0.5, 3)
  expected = np.exp([-np.inf, 4.0, -np.inf, 3.0, 2.0])
  expected /= expected.sum()
  # Four standard deviations of a share in 20,000 draws.
  np.testing.assert_allclose(
    np.bincount(actual, minlength=5) / count, expected, atol=4 * 0.5 / 141
  )


of_four = jax.jit(
  jax.vmap(
    functools.partial(autoregressive.pick_token, most=4), (0, None, None, None)
  )
)


@pytest.mark.parametrize('temperature', [0.1, 1.0, 9.0])
def test_top_one_is_greedy(temperature):
  logits = jax.random.normal(jax.random.key(0), (50,))
  actual = of_four(golden_rows.keys(100), logits, temperature, 1)
  assert set(actual.tolist()) == {int(logits.argmax())}
