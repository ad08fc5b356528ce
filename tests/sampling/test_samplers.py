"""Samplers: the official traces, and the laws of masked prediction."""

import dataclasses
import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hermesflow_jax.models import flop_count
from hermesflow_jax.sampling import autoregressive
from hermesflow_jax.sampling import choice_rules
from hermesflow_jax.sampling import choice_scores
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import prefix_cache
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_to_image

MAX_TEXT, CODES, STEPS = 12, 16, 6
COUNTS = mask_schedules.schedule_counts(STEPS, CODES, mask_schedules.cosine)


def likeliest(key, logits):
  del key
  return logits.argmax(-1)


@functools.partial(jax.jit, static_argnums=(5, 6))
def draw(model, keys, text, codes, known, config, choose):
  """`sample_image` over a batch: text [B, branches, P]."""

  def one(key, text, codes, known):
    branches = [
      jax.tree.map(lambda a: a[n], text) for n in range(len(text.tokens))
    ]
    return maskgit.sample_image(
      model, key, branches, codes, known, config, COUNTS, choose
    )

  return jax.vmap(one)(keys, text, codes, known)


def texts(golden):
  """The four prompts as lists of ids."""
  rows, lengths = golden['t2i_text_ids'], golden['t2i_text_lengths']
  return [row[:n].tolist() for row, n in zip(rows, lengths)]


def conditions(golden, vocab, guided):
  """Prefixes [4, branches, P] of the prompts, with the empty one or alone."""
  rows = text_to_image.t2i_prefix(vocab, texts(golden), MAX_TEXT)
  empty = text_to_image.t2i_prefix(vocab, [[]] * 4, MAX_TEXT)
  branches = (rows, empty) if guided else (rows,)
  return jax.tree.map(lambda *a: np.stack(a, 1), *branches)


def keys(count):
  return jax.random.split(jax.random.key(7), count)


def given(golden, kept):
  """(codes, known) that give the sampler the kept winning codes."""
  codes = golden['t2i_win_tokens'].astype(np.int32)
  return codes, np.broadcast_to(kept, codes.shape)


@pytest.mark.parametrize('case', ['cfg', 'nocfg', 'inpaint'])
def test_images_are_revealed_as_in_the_official_code(
  golden, golden_policy, case
):
  vocab = golden_policy.config.vocab
  kept = golden['inpaint_keep'] if case == 'inpaint' else False
  guidance = 0.0 if case == 'nocfg' else float(golden['t2i_gen_guidance'])
  text = conditions(golden, vocab, guided=case != 'nocfg')
  np.testing.assert_array_equal(
    text.tokens[:, 0], golden[f't2i_gen_{case}_ids'][:, : MAX_TEXT + 1]
  )
  codes, trace = draw(
    golden_policy,
    keys(4),
    text,
    *given(golden, kept),
    maskgit.MaskGITSampler(STEPS, guidance, temperature=0.0),
    likeliest,
  )
  seen = np.where(trace < 0, vocab.mask, trace + vocab.image_offset)
  np.testing.assert_array_equal(
    seen.swapaxes(0, 1), golden[f't2i_gen_{case}_trace']
  )
  np.testing.assert_array_equal(codes, golden[f't2i_gen_{case}_final'])


def plain_sample_image(model, key, text, codes, known, config):
  """`sample_image` without a cache: whole rows at each step."""
  vocab = model.config.vocab

  def branch(text, image):
    tokens = jnp.concatenate([text.tokens, image])
    image_ar = jnp.zeros(CODES + 2, jnp.int32).at[0].set(1)
    mask = attention_mask.mask_matrix(
      jnp.concatenate([text.ar, image_ar]),
      jnp.concatenate([text.valid, jnp.ones(CODES + 2, bool)]),
    )
    hidden, _ = model(tokens, mask, jnp.arange(tokens.size))
    logits = model.logits(hidden)[-CODES - 1 : -1]
    return logits[:, vocab.image_offset : vocab.mask]

  @jax.jit
  def look(state, key, temperature):
    draw_key, noise_key = jax.random.split(key)
    image = jnp.where(state < 0, vocab.mask, state + vocab.image_offset)
    image = jnp.pad(image, 1, constant_values=(vocab.soi, vocab.eoi))
    condition, empty = jax.vmap(branch, (0, None))(text, image)
    logits = (1 + config.guidance) * condition - config.guidance * empty
    logits = logits / config.code_temperature
    drawn = jax.random.categorical(draw_key, logits)
    logps = jax.nn.log_softmax(logits)[jnp.arange(CODES), drawn]
    noise = jax.random.gumbel(noise_key, (CODES,))
    return drawn, logps + temperature * noise

  state, trace = np.where(known, codes, -1), []
  for step, step_key in enumerate(jax.random.split(key, STEPS)):
    trace.append(state)
    drawn, confidence = jax.device_get(
      look(state, step_key, config.temperatures()[step])
    )
    masked = np.flatnonzero(state < 0)
    count = max(1, min(COUNTS[step], len(masked) - 1))
    drawn = np.where(state < 0, drawn, state)
    state = drawn.copy()
    state[masked[np.argsort(confidence[masked])[:count]]] = -1
  return drawn, np.stack(trace)


def test_a_cached_prefix_changes_nothing(golden, golden_policy):
  text = conditions(golden, golden_policy.config.vocab, guided=True)
  codes, known = given(golden, golden['inpaint_keep'])
  config = maskgit.MaskGITSampler(
    STEPS, 1.5, temperature=1.0, code_temperature=0.8
  )
  found, trace = draw(
    golden_policy, keys(4), text, codes, known, config, jax.random.categorical
  )
  row = 1
  wanted, wanted_trace = plain_sample_image(
    golden_policy,
    keys(4)[row],
    jax.tree.map(lambda a: a[row], text),
    codes[row],
    known[row],
    config,
  )
  np.testing.assert_array_equal(trace[row], wanted_trace)
  np.testing.assert_array_equal(found[row], wanted)


@pytest.fixture(scope='module')
def noisy(golden, golden_policy):
  """(codes, known, drawn codes, trace) of images drawn with noise."""
  text = conditions(golden, golden_policy.config.vocab, guided=False)
  codes, known = given(golden, golden['inpaint_keep'])
  config = maskgit.MaskGITSampler(STEPS, 0.0, temperature=2.0)
  return (
    codes,
    known,
    *draw(
      golden_policy, keys(4), text, codes, known, config, jax.random.categorical
    ),
  )


def test_each_position_is_revealed_exactly_once(noisy):
  _, _, found, trace = noisy
  states = np.concatenate([trace, found[:, None]], axis=1)
  before, after = states[:, :-1], states[:, 1:]
  seen = before >= 0
  np.testing.assert_array_equal(after[seen], before[seen])


def test_as_many_stay_masked_as_the_schedule_says(noisy):
  _, known, _, trace = noisy
  masked = (np.asarray(trace) < 0).sum(-1)
  wanted = (~known).sum(-1)
  for step in range(STEPS):
    np.testing.assert_array_equal(masked[:, step], wanted)
    wanted = np.maximum(1, np.minimum(COUNTS[step], wanted - 1))


def test_known_codes_never_change(noisy):
  codes, known, found, trace = noisy
  states = np.concatenate([trace, found[:, None]], axis=1)
  for step in range(STEPS + 1):
    np.testing.assert_array_equal(states[:, step][known], codes[known])


def test_nothing_stays_masked(noisy):
  found = np.asarray(noisy[2])
  assert found.min() >= 0 and found.max() < 64


def test_an_image_that_is_all_known_comes_back(golden, golden_policy):
  text = conditions(golden, golden_policy.config.vocab, guided=False)
  codes, known = given(golden, True)
  config = maskgit.MaskGITSampler(STEPS, 0.0, temperature=2.0)
  found, _ = draw(
    golden_policy, keys(4), text, codes, known, config, jax.random.categorical
  )
  np.testing.assert_array_equal(found, codes)


def test_guidance_between_equal_branches_is_none(golden, golden_policy):
  text = conditions(golden, golden_policy.config.vocab, guided=False)
  twice = jax.tree.map(lambda a: np.concatenate([a, a], axis=1), text)
  codes, known = given(golden, False)
  guided = maskgit.MaskGITSampler(
    STEPS, float(golden['t2i_gen_guidance']), temperature=0.0
  )
  found, _ = draw(
    golden_policy, keys(4), twice, codes, known, guided, likeliest
  )
  np.testing.assert_array_equal(found, golden['t2i_gen_nocfg_final'])


def test_confidence_temperatures_by_hand():
  plain = maskgit.MaskGITSampler(4, 0.0, temperature=2.0)
  np.testing.assert_allclose(plain.temperatures(), [1.5, 1.0, 0.5, 0.0])
  official = maskgit.MaskGITSampler(4, 0.0, temperature=2.0, compounding=True)
  np.testing.assert_allclose(official.temperatures(), [1.5, 0.75, 0.1875, 0.0])


@pytest.mark.parametrize(
  'fault',
  [
    {'steps': 0},
    {'steps': -3},
    {'guidance': float('nan')},
    {'guidance': -0.5},
    {'guidance': float('inf')},
    {'temperature': float('nan')},
    {'temperature': -1.0},
    {'temperature': float('inf')},
    {'code_temperature': 0.0},
    {'code_temperature': float('nan')},
    {'code_temperature': float('inf')},
  ],
)
def test_an_impossible_sampler_is_refused(fault):
  settings = {'steps': 4, 'guidance': 1.0} | fault
  ((name, value),) = fault.items()
  with pytest.raises(ValueError, match=f'^{name} must be .* got {value}'):
    maskgit.MaskGITSampler(**settings)


def test_an_unknown_schedule_is_refused():
  with pytest.raises(ValueError, match='cosin'):
    maskgit.MaskGITSampler(steps=4, guidance=1.0, schedule='cosin')


def test_every_fault_of_a_sampler_is_named():
  with pytest.raises(
    ValueError,
    match='steps must be at least 1, got 0.*guidance must be .* got -1',
  ):
    maskgit.MaskGITSampler(steps=0, guidance=-1.0)


@pytest.fixture(scope='module')
def prompt(golden, golden_policy):
  """(image Rows [3, E], prompt Rows [3, P], lengths [3]), the official one."""
  question = golden['mmu_gen_question'][0].tolist()
  return image_to_text.mmu_parts(
    golden_policy.config.vocab,
    golden['mmu_image_tokens'],
    [question] * 3,
    3 + CODES + 1 + len(question) + 2,
  )


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
  found = reply(golden_policy, keys(3), prompt, 1.0, 1, -1, every)
  np.testing.assert_array_equal(found, golden['mmu_gen_tokens'])


@jax.jit
def row_logits(model, tokens):
  """Logits of a whole mmu row without pads."""
  index = jnp.arange(tokens.size)
  joins = (index >= 2) & (index <= 2 + CODES)
  opens = jnp.where(joins, 0, 1).at[1].set(0)
  mask = attention_mask.mask_matrix(opens, jnp.ones(tokens.size, bool))
  hidden, _ = model(tokens, mask, index)
  return model.logits(hidden)


def row_of(prompt, n):
  """The tokens of row n with room for 12 more, and where these begin."""
  image, rows, lengths = jax.tree.map(lambda a: a[n], prompt)
  tokens = np.concatenate([image.tokens, rows.tokens[:lengths]])
  return np.pad(tokens, (0, 12)), len(tokens)


def test_cached_text_equals_text_of_whole_rows(golden_policy, prompt):
  every = np.ones(golden_policy.config.vocab.size, bool)
  found = reply(golden_policy, keys(3), prompt, 0.7, 5, -1, every)[0]
  tokens, begin = row_of(prompt, 0)
  pick = jax.jit(autoregressive.pick_token, static_argnums=4)
  for i, key in enumerate(jax.random.split(keys(3)[0], 12)):
    logits = row_logits(golden_policy, tokens)[begin + i - 1]
    tokens[begin + i] = pick(key, logits, 0.7, 5, logits.size)
  np.testing.assert_array_equal(found, tokens[begin:])


@jax.jit
def text_reply(model, keys, prompt, temperature, top_k, stop):
  return reply(model, keys, prompt, temperature, top_k, stop, None)


def test_replies_are_text_alone(golden_policy, prompt):
  many = jax.tree.map(lambda a: np.repeat(a, 20, axis=0), prompt)
  found = text_reply(golden_policy, keys(60), many, 5.0, 1_000, -1)
  assert found.max() < golden_policy.config.vocab.text_size
  assert len(np.unique(found)) > 25


def test_a_reply_ends_at_its_stop(golden_policy, prompt):
  many = jax.tree.map(lambda a: np.repeat(a, 20, axis=0), prompt)
  free = np.asarray(text_reply(golden_policy, keys(60), many, 1.0, 1, -1))
  stop = int(free[0, 4])
  found = text_reply(golden_policy, keys(60), many, 1.0, 1, stop)
  ended = np.cumsum(free == stop, axis=-1) > 0
  assert ended.any() and not ended.all()
  np.testing.assert_array_equal(found, np.where(ended, stop, free))


@pytest.mark.parametrize('stretch', [1, 5, 12])
def test_looking_for_the_end_changes_no_token(golden_policy, prompt, stretch):
  many = jax.tree.map(lambda a: np.repeat(a, 20, axis=0), prompt)
  arguments = golden_policy, keys(60), many, 1.5, 20
  stop = int(reply(*arguments, -1, None)[0, 3])
  wanted = reply(*arguments, stop, None)
  found = reply(*arguments, stop, None, stretch=stretch)
  np.testing.assert_array_equal(found, wanted)


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


@pytest.mark.parametrize('stretch, wanted', [(1, 5), (2, 6), (4, 8), (12, 12)])
def test_a_reply_that_has_ended_is_not_computed_on(
  golden_policy, prompt, stretch, wanted
):
  """The fifth greedy token is the stop here."""
  row = jax.tree.map(lambda a: a[0], prompt)
  free = reply(golden_policy, keys(3), prompt, 1.0, 1, -1, None)[0]
  stop = int(free[4])
  assert stop not in free[:4]
  counted = Counted(golden_policy)
  jax.block_until_ready(
    autoregressive.sample_text(
      counted,
      keys(1)[0],
      *row,
      max_new=12,
      temperature=1.0,
      top_k=1,
      most=1,
      stop=stop,
      stretch=stretch,
    )
  )
  jax.effects_barrier()
  # Two calls read the image and the prompt.
  assert counted.calls == 2 + wanted


@pytest.mark.parametrize('most', [3, 5])
def test_tokens_are_drawn_in_proportion(most):
  logits, count = jnp.array([0.0, 2.0, -1.0, 1.5, 1.0]), 20_000
  pick = functools.partial(autoregressive.pick_token, most=most)
  pick = jax.jit(jax.vmap(pick, (0, None, None, None)))
  found = pick(keys(count), logits, 0.5, 3)
  wanted = np.exp([-np.inf, 4.0, -np.inf, 3.0, 2.0])
  wanted /= wanted.sum()
  # Four standard deviations of a share in 20,000 draws.
  np.testing.assert_allclose(
    np.bincount(found, minlength=5) / count, wanted, atol=4 * 0.5 / 141
  )


@pytest.mark.parametrize('temperature', [0.1, 1.0, 9.0])
def test_top_one_is_greedy(temperature):
  logits = jax.random.normal(jax.random.key(0), (50,))
  pick = functools.partial(autoregressive.pick_token, most=4)
  found = jax.vmap(pick, (0, None, None, None))(
    keys(100), logits, temperature, 1
  )
  assert set(found.tolist()) == {int(logits.argmax())}


def choices_of(tokens, valid=None):
  """The choices of one question with these tokens int[C, A]."""
  tokens = np.asarray(tokens, np.int32)
  valid = np.ones(tokens.shape, bool) if valid is None else np.asarray(valid)
  siblings = choice_rules.sibling_tokens(tokens[None], valid[None])[0]
  return choice_rules.Choices(tokens, valid, siblings)


def scored(rule, model, row, choices):
  """float32[C]."""
  return jax.jit(choice_scores.score_choices, static_argnames='rule')(
    model, *row, choices, rule=rule
  )


def test_answers_score_as_in_whole_rows(golden_policy, prompt):
  answers = np.array([[3, 0, 0], [8, 41, 0], [8, 5, 49], [0, 0, 0]], np.int32)
  sizes = np.array([1, 2, 3, 0])
  row = jax.tree.map(lambda a: a[1], prompt)
  found = scored(
    choice_rules.sum_logp,
    golden_policy,
    row,
    choices_of(answers, np.arange(3) < sizes[:, None]),
  )
  for n, size in enumerate(sizes[:3]):
    tokens, begin = row_of(prompt, 1)
    tokens[begin : begin + size] = answers[n, :size]
    logps = jax.nn.log_softmax(row_logits(golden_policy, tokens))
    wanted = logps[begin - 1 + np.arange(size), answers[n, :size]].sum()
    # Three log-probabilities, each within the logits' tolerance.
    np.testing.assert_allclose(found[n], wanted, atol=3e-4)


@pytest.mark.parametrize('rule', choice_rules.RULES.values())
def test_an_answer_without_tokens_never_wins(golden_policy, prompt, rule):
  row = jax.tree.map(lambda a: a[1], prompt)
  found = scored(
    rule,
    golden_policy,
    row,
    choices_of(
      np.zeros((4, 3), np.int32),
      np.array([[True] * 3, [False] * 3, [True] * 3, [False] * 3]),
    ),
  )
  assert (found[1::2] == prefix_cache.NEG).all() and found[0] > prefix_cache.NEG


def test_single_token_answers_score_as_the_next_token(golden_policy, prompt):
  row = jax.tree.map(lambda a: a[0], prompt)
  score = functools.partial(scored, choice_rules.sum_logp, golden_policy, row)
  short = score(choices_of([[3], [8]]))
  long = score(choices_of([[3, 0], [8, 0]], [[True, False]] * 2))
  np.testing.assert_allclose(short, long, atol=1e-5)


def flops(function, *arguments) -> float:
  """Floating-point operations of a compiled function."""
  return jax.jit(function).lower(*arguments).compile().cost_analysis()['flops']


@pytest.mark.parametrize('count', [2, 6])
def test_what_is_shared_is_computed_once(golden_policy, prompt, count):
  """Candidates share image and prompt, questions the image."""
  # The compiler counts the body of a loop once: there is none over layers.
  policy = nnx.clone(golden_policy)
  decoder = policy.decoder.config
  policy.decoder.config = dataclasses.replace(decoder, unroll=decoder.layers)
  image, row, length = jax.tree.map(lambda a: a[0], prompt)

  def replies(model, keys):
    def one(key):
      return autoregressive.sample_text(
        model,
        key,
        image,
        row,
        length,
        max_new=1,
        temperature=1.0,
        top_k=1,
        most=1,
        stop=-1,
      )

    return jax.vmap(one)(keys)

  def answers(model, rows, answers):
    def one(row, answers):
      choices = choice_rules.Choices(
        answers, answers >= 0, jnp.ones((2, 1, 2), bool)
      )
      return choice_scores.score_choices(
        model, image, row, length, choices, choice_rules.constrained_logp
      )

    return jax.vmap(one)(rows, answers)

  def read(model, rows):
    return prefix_cache.prefill(model, rows)[0]

  once = flops(read, policy, image)
  of_prompt = flops(read, policy, row)
  found = flops(replies, policy, keys(count))
  # A reply of one token: `count` tokens beside the prefix, and the head.
  assert found < once + 1.5 * of_prompt + 0.1 * count * once
  rows = jax.tree.map(lambda a: jnp.stack([a] * count), row)
  found = flops(answers, policy, rows, jnp.zeros((count, 2, 1), jnp.int32))
  assert found < once + 1.5 * count * of_prompt


def test_inverse_cdf_draws_the_softmax_and_nothing_impossible():
  logits = jnp.array([0.0, 1.0, -jnp.inf, 2.0, -1.0, -jnp.inf, 0.5])
  keys = jax.random.split(jax.random.key(0), 20_000)
  drawn = jax.vmap(lambda k: maskgit.inverse_cdf(k, logits))(keys)
  found = np.bincount(np.asarray(drawn), minlength=7) / len(keys)
  wanted = np.asarray(jax.nn.softmax(logits))
  # Four standard errors of a share of 20,000 draws.
  assert np.abs(found - wanted).max() < 4 * 0.5 / np.sqrt(len(keys))
  assert found[2] == found[5] == 0


def test_images_share_what_is_the_same_for_all(golden, golden_policy):
  """Prefixes, and the first step of one caption's candidates."""
  text = conditions(golden, golden_policy.config.vocab, guided=True)
  text = [jax.tree.map(lambda a: a[0, n], text) for n in (0, 1)]
  config = maskgit.MaskGITSampler(STEPS, 1.5, temperature=1.0)
  nothing = np.zeros(CODES, np.int32), np.zeros(CODES, bool)

  def one(model, key, text, codes, known):
    return maskgit.sample_image(model, key, text, codes, known, config, COUNTS)[
      0
    ]

  def of_each(a):
    return jnp.stack([a] * 5)

  shared = jax.vmap(one, (None, 0, None, None, None))
  apart = jax.vmap(one, (None, 0, 0, 0, 0))
  arguments = golden_policy, keys(5), text, *nothing
  copied = jax.tree.map(of_each, (text, *nothing))
  np.testing.assert_array_equal(
    jax.jit(shared)(*arguments), jax.jit(apart)(*arguments[:2], *copied)
  )
  found = flop_count.count_flops(shared, *arguments).flops
  whole = flop_count.count_flops(apart, *arguments[:2], *copied).flops
  # Of five images four first steps, and eight prefixes, less the head's part.
  step = whole / 5 / (STEPS + 2 * text[0].tokens.size / (2 * (CODES + 2)))
  assert whole - found > 4 * 0.9 * step
