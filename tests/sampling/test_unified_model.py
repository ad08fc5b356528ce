"""Images and replies of the unified model depend on names alone."""

import dataclasses
import functools

import numpy as np
import pytest
import small_unified
import tiny

from hermesflow_jax.runtime import batching
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import question_answering
from hermesflow_jax.sampling import serving_weights
from hermesflow_jax.sequences import text_tokenizer


def test_images_are_codes(drawn):
  assert drawn.shape == (len(small_unified.NAMES), 2, tiny.IMAGE_TOKENS)
  assert drawn.min() >= 0 and drawn.max() < tiny.vocab().codebook_size


def test_candidates_differ(drawn):
  assert (drawn[:, 0] != drawn[:, 1]).any(-1).mean() > 0.9


def test_images_do_not_depend_on_the_order_of_names(unified, drawn):
  order = np.random.default_rng(0).permutation(len(small_unified.NAMES))
  actual = unified.draw(
    [small_unified.NAMES[i] for i in order],
    [small_unified.CAPTIONS[i] for i in order],
    2,
    small_unified.SAMPLER,
    seed=3,
  )
  np.testing.assert_array_equal(actual, drawn[order])


def test_images_do_not_depend_on_the_company(unified, drawn):
  actual = unified.draw(
    small_unified.NAMES[4:7],
    small_unified.CAPTIONS[4:7],
    3,
    small_unified.SAMPLER,
    seed=3,
  )
  np.testing.assert_array_equal(actual[:, :2], drawn[4:7])


def test_another_seed_draws_other_images(unified, drawn):
  actual = unified.draw(
    small_unified.NAMES,
    small_unified.CAPTIONS,
    2,
    small_unified.SAMPLER,
    seed=4,
  )
  assert (actual != drawn).any(-1).mean() > 0.9


def test_meshes_and_chunks_change_no_token(
  unified, model, drawn, output, answered
):
  other = small_unified.unified_on(model, (4, 2), chunk=16)
  np.testing.assert_array_equal(
    other.draw(
      small_unified.NAMES,
      small_unified.CAPTIONS,
      2,
      small_unified.SAMPLER,
      seed=3,
    ),
    drawn,
  )
  assert (
    other.describe(
      small_unified.NAMES, drawn[:, 0], small_unified.SAMPLERS, seed=3
    )
    == output
  )
  assert other.answer(drawn[:, 0], small_unified.QUESTIONS) == answered
  freely = dict(
    answering=question_answering.AnswerConfig(
      free=True, free_prompt='{question}'
    )
  )
  assert dataclasses.replace(other, **freely).answer(
    drawn[:, 0], small_unified.QUESTIONS
  ) == dataclasses.replace(unified, **freely).answer(
    drawn[:, 0], small_unified.QUESTIONS
  )
  given = dict(codes=drawn, known=np.arange(tiny.IMAGE_TOKENS) < drawn * 0 + 2)
  repainted = other.draw(
    small_unified.NAMES,
    small_unified.CAPTIONS,
    2,
    small_unified.SAMPLER,
    seed=4,
    **given,
  )
  np.testing.assert_array_equal(
    repainted,
    unified.draw(
      small_unified.NAMES,
      small_unified.CAPTIONS,
      2,
      small_unified.SAMPLER,
      seed=4,
      **given,
    ),
  )
  assert (repainted != drawn).any()
  pixels = other.decode(drawn[:, 0])
  np.testing.assert_array_equal(pixels, unified.decode(drawn[:, 0]))
  np.testing.assert_array_equal(other.encode(pixels), unified.encode(pixels))


def test_fused_products_change_no_token(
  unified, monkeypatch, drawn, output, answered
):
  ready = functools.partial(serving_weights.prepare_for_serving, fused=True)
  monkeypatch.setattr(serving_weights, 'prepare_for_serving', ready)
  other = dataclasses.replace(unified)
  np.testing.assert_array_equal(
    other.draw(
      small_unified.NAMES,
      small_unified.CAPTIONS,
      2,
      small_unified.SAMPLER,
      seed=3,
    ),
    drawn,
  )
  assert (
    other.describe(
      small_unified.NAMES, drawn[:, 0], small_unified.SAMPLERS, seed=3
    )
    == output
  )
  assert other.answer(drawn[:, 0], small_unified.QUESTIONS) == answered


def test_replies_do_not_depend_on_order_or_other_samplers(
  unified, drawn, output
):
  actual = unified.describe(
    small_unified.NAMES[::-1],
    drawn[::-1, 0],
    small_unified.SAMPLERS[:2],
    seed=3,
  )
  assert actual == [replies[:2] for replies in output[::-1]]


def test_replies_do_not_depend_on_what_else_is_asked(unified, drawn, output):
  requested = ['what is there ?', text_tokenizer.CAPTION_PROMPT, 'how many ?']
  names, images = small_unified.NAMES[:2], drawn[:2, 0]
  actual = unified.reply(
    names, images, requested, small_unified.SAMPLERS, seed=3
  )
  assert [item[1] for item in actual] == output[:2]
  for n, prompt in enumerate(requested):
    alone = unified.reply(
      names, images, [prompt], small_unified.SAMPLERS, seed=3
    )
    assert [item for (item,) in alone] == [item[n] for item in actual]


def test_replies_are_words_of_the_world(output):
  words = {w for replies in output for text in replies for w in text.split()}
  assert words and words <= set(tiny.WORDS) | {'<|unk|>'}


@pytest.mark.parametrize('most', [1, 3])
def test_pads_change_nothing(
  unified, drawn, output, answered, monkeypatch, most
):
  """Nor does it matter how many are left out."""
  monkeypatch.setattr(batched, 'LENGTH_MULTIPLE', most)
  actual = unified.draw(
    small_unified.NAMES,
    small_unified.CAPTIONS,
    2,
    small_unified.SAMPLER,
    seed=3,
  )
  np.testing.assert_array_equal(actual, drawn)
  assert (
    unified.describe(
      small_unified.NAMES, drawn[:, 0], small_unified.SAMPLERS, seed=3
    )
    == output
  )
  assert unified.answer(drawn[:, 0], small_unified.QUESTIONS) == answered


def test_any_number_of_inputs_compiles_few_sizes(unified):
  """Up to 1,000 inputs of 1 to 10 rows each: at most a size a power of two."""
  sizes = set()

  def mapped(function, arrays, size, mesh, progress, clock):
    sizes.add(size)
    assert size % 8 == 0 and size <= 64
    assert size < 2 * max(8, len(arrays))

  wide = small_unified.unified_on(unified.model, (8, 1), chunk=64)
  original, batching.map_batches = (batching.map_batches, mapped)
  try:
    for count in range(1, 1_000):
      for item in (1, 4, 10):
        wide.sampler.map('', None, np.zeros((count, 1)), item)
  finally:
    batching.map_batches = original
  assert sizes == {8, 16, 32, 64}


def test_images_encode_and_decode_in_chunks(unified):
  images = np.random.default_rng(0).integers(0, 256, (11, 8, 8, 3), np.uint8)
  codes = unified.encode(images)
  assert codes.shape == (11, tiny.IMAGE_TOKENS)
  np.testing.assert_array_equal(unified.encode(images[3:5]), codes[3:5])
  decoded = unified.decode(codes)
  assert decoded.shape == images.shape and decoded.dtype == np.uint8
  np.testing.assert_array_equal(unified.decode(codes[3:5]), decoded[3:5])


def test_keys_are_of_the_name_the_candidate_and_the_seed():
  keys = batched.identity_keys(0, ['a', 'b', 'c'], 4)
  flat = keys.reshape(12, -1)
  assert len(np.unique(flat, axis=0)) == 12
  np.testing.assert_array_equal(
    batched.identity_keys(0, ['c'], 2)[0], keys[2, :2]
  )
  other = batched.identity_keys(1, ['a'], 1)
  assert not np.array_equal(other[0], keys[0, :1])


def test_without_guidance_the_empty_caption_is_not_asked(unified):
  plain = dataclasses.replace(small_unified.SAMPLER, guidance=0.0)
  actual = unified.draw(
    small_unified.NAMES[:2], small_unified.CAPTIONS[:2], 1, plain, seed=3
  )
  assert actual.shape == (2, 1, tiny.IMAGE_TOKENS)


@pytest.mark.parametrize(
  'fault',
  [
    {'temperature': 0.0},
    {'temperature': -1.0},
    {'top_k': 0},
    {'temperature': float('nan')},
  ],
)
def test_an_impossible_rung_is_refused(fault):
  ((name, value),) = fault.items()
  with pytest.raises(ValueError, match=f'{name} .*{value}'):
    batched.Decoding(**{'temperature': 1.0, 'top_k': 1} | fault)
