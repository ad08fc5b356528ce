"""Images: the official traces and the laws of masked prediction."""

import functools

import golden_rows
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hermesflow_jax.models import flop_count
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import softmax_sampling
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_to_image

MAX_TEXT, STEPS = 12, 6
COUNTS = mask_schedules.schedule_counts(
  STEPS, golden_rows.CODES, mask_schedules.cosine
)


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
    golden_rows.keys(4),
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
    image_ar = jnp.zeros(golden_rows.CODES + 2, jnp.int32).at[0].set(1)
    mask = attention_mask.mask_matrix(
      jnp.concatenate([text.ar, image_ar]),
      jnp.concatenate([text.valid, jnp.ones(golden_rows.CODES + 2, bool)]),
    )
    hidden, _ = model(tokens, mask, jnp.arange(tokens.size))
    logits = model.logits(hidden)[-golden_rows.CODES - 1 : -1]
    return logits[:, vocab.image_offset : vocab.mask]

  @jax.jit
  def look(state, key, temperature):
    draw_key, noise_key = jax.random.split(key)
    image = jnp.where(state < 0, vocab.mask, state + vocab.image_offset)
    image = jnp.pad(image, 1, constant_values=(vocab.soi, vocab.eoi))
    condition, empty = jax.vmap(branch, (0, None))(text, image)
    logits = (1 + config.guidance) * condition - config.guidance * empty
    logits = logits / config.code_temperature
    numbers = jax.random.uniform(draw_key, (golden_rows.CODES,))
    drawn = softmax_sampling.inverse_cdf(numbers, logits)
    logps = jax.nn.log_softmax(logits)[jnp.arange(golden_rows.CODES), drawn]
    noise = jax.random.gumbel(noise_key, (golden_rows.CODES,))
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
  actual, trace = draw(
    golden_policy,
    golden_rows.keys(4),
    text,
    codes,
    known,
    config,
    softmax_sampling.inverse_cdf,
  )
  row = 1
  expected, wanted_trace = plain_sample_image(
    golden_policy,
    golden_rows.keys(4)[row],
    jax.tree.map(lambda a: a[row], text),
    codes[row],
    known[row],
    config,
  )
  np.testing.assert_array_equal(trace[row], wanted_trace)
  np.testing.assert_array_equal(actual[row], expected)


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
      golden_policy,
      golden_rows.keys(4),
      text,
      codes,
      known,
      config,
      softmax_sampling.inverse_cdf,
    ),
  )


def test_each_position_is_revealed_exactly_once(noisy):
  _, _, actual, trace = noisy
  states = np.concatenate([trace, actual[:, None]], axis=1)
  before, after = states[:, :-1], states[:, 1:]
  seen = before >= 0
  np.testing.assert_array_equal(after[seen], before[seen])


def test_as_many_stay_masked_as_the_schedule_says(noisy):
  _, known, _, trace = noisy
  masked = (np.asarray(trace) < 0).sum(-1)
  expected = (~known).sum(-1)
  for step in range(STEPS):
    np.testing.assert_array_equal(masked[:, step], expected)
    expected = np.maximum(1, np.minimum(COUNTS[step], expected - 1))


def test_known_codes_never_change(noisy):
  codes, known, actual, trace = noisy
  states = np.concatenate([trace, actual[:, None]], axis=1)
  for step in range(STEPS + 1):
    np.testing.assert_array_equal(states[:, step][known], codes[known])


def test_nothing_stays_masked(noisy):
  actual = np.asarray(noisy[2])
  assert actual.min() >= 0 and actual.max() < 64


def test_an_image_that_is_all_known_comes_back(golden, golden_policy):
  text = conditions(golden, golden_policy.config.vocab, guided=False)
  codes, known = given(golden, True)
  config = maskgit.MaskGITSampler(STEPS, 0.0, temperature=2.0)
  actual, _ = draw(
    golden_policy,
    golden_rows.keys(4),
    text,
    codes,
    known,
    config,
    softmax_sampling.inverse_cdf,
  )
  np.testing.assert_array_equal(actual, codes)


def test_guidance_between_equal_branches_is_none(golden, golden_policy):
  text = conditions(golden, golden_policy.config.vocab, guided=False)
  twice = jax.tree.map(lambda a: np.concatenate([a, a], axis=1), text)
  codes, known = given(golden, False)
  guided = maskgit.MaskGITSampler(
    STEPS, float(golden['t2i_gen_guidance']), temperature=0.0
  )
  actual, _ = draw(
    golden_policy, golden_rows.keys(4), twice, codes, known, guided, likeliest
  )
  np.testing.assert_array_equal(actual, golden['t2i_gen_nocfg_final'])


def test_images_share_what_is_the_same_for_all(golden, golden_policy):
  """Prefixes, and the first step of one caption's candidates."""
  text = conditions(golden, golden_policy.config.vocab, guided=True)
  text = [jax.tree.map(lambda a: a[0, n], text) for n in (0, 1)]
  config = maskgit.MaskGITSampler(STEPS, 1.5, temperature=1.0)
  nothing = (
    np.zeros(golden_rows.CODES, np.int32),
    np.zeros(golden_rows.CODES, bool),
  )

  def one(model, key, text, codes, known):
    return maskgit.sample_image(model, key, text, codes, known, config, COUNTS)[
      0
    ]

  def of_each(a):
    return jnp.stack([a] * 5)

  shared = jax.vmap(one, (None, 0, None, None, None))
  apart = jax.vmap(one, (None, 0, 0, 0, 0))
  arguments = golden_policy, golden_rows.keys(5), text, *nothing
  copied = jax.tree.map(of_each, (text, *nothing))
  np.testing.assert_array_equal(
    jax.jit(shared)(*arguments), jax.jit(apart)(*arguments[:2], *copied)
  )
  actual = flop_count.count_flops(shared, *arguments).flops
  whole = flop_count.count_flops(apart, *arguments[:2], *copied).flops
  # Of five images four first steps, and eight prefixes, less the head's part.
  step = (
    whole
    / 5
    / (STEPS + 2 * text[0].tokens.size / (2 * (golden_rows.CODES + 2)))
  )
  assert whole - actual > 4 * 0.9 * step
