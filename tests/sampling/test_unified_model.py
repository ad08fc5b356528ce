"""What a model says and draws depends on names alone."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
import tiny

from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import question_answering
from hermesflow_jax.sampling import serving_weights
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.sequences import text_tokenizer

NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k']
CAPTIONS = ['red circle', 'two blue square', 'one green star'] * 4
CAPTIONS = CAPTIONS[: len(NAMES)]
SAMPLER = maskgit.MaskGITSampler(3, 0.5, temperature=2.0, code_temperature=3.0)
LADDER = (
  batched.Decoding(1.0, 1),
  batched.Decoding(0.7, 3),
  batched.Decoding(2.0, 50),
)
QUESTIONS = [
  [
    {
      'question': 'what color is the shape ?',
      'choices': ['red', 'blue', 'blue circle', 'green'],
    },
    {'question': 'is the shape red ?', 'choices': ['yes', 'no']},
  ][: n % 3]
  for n in range(len(NAMES))
]


@pytest.fixture(scope='module')
def model():
  return tiny.show_o(jax.random.key(5))


def unified_on(model, shape=(8, 1), chunk=8):
  """The model on a mesh, as the rules place it."""
  mesh = tiny.mesh(*shape)
  tokenizer = tiny.tokenizer()
  return unified_model.UnifiedModel(
    model=jax.device_put(model, sharding.shardings(model, mesh)),
    tokenizer=jax.device_put(tokenizer, sharding.replicated(mesh)),
    text=tiny.text(),
    lengths=tiny.LENGTHS,
    grid=tiny.GRID,
    mesh=mesh,
    chunk=chunk,
    progress=lambda label: lambda chunks: chunks,
  )


@pytest.fixture(scope='module')
def unified(model):
  return unified_on(model)


@pytest.fixture(scope='module')
def drawn(unified):
  return unified.draw(NAMES, CAPTIONS, 2, SAMPLER, seed=3)


@pytest.fixture(scope='module')
def said(unified, drawn):
  return unified.describe(NAMES, drawn[:, 0], LADDER, seed=3)


@pytest.fixture(scope='module')
def answered(unified, drawn):
  return unified.answer(drawn[:, 0], QUESTIONS)


def test_images_are_codes(drawn):
  assert drawn.shape == (len(NAMES), 2, tiny.IMAGE_TOKENS)
  assert drawn.min() >= 0 and drawn.max() < tiny.vocab().codebook_size


def test_candidates_differ(drawn):
  assert (drawn[:, 0] != drawn[:, 1]).any(-1).mean() > 0.9


def test_images_do_not_depend_on_the_order_of_names(unified, drawn):
  order = np.random.default_rng(0).permutation(len(NAMES))
  found = unified.draw(
    [NAMES[i] for i in order], [CAPTIONS[i] for i in order], 2, SAMPLER, seed=3
  )
  np.testing.assert_array_equal(found, drawn[order])


def test_images_do_not_depend_on_the_company(unified, drawn):
  found = unified.draw(NAMES[4:7], CAPTIONS[4:7], 3, SAMPLER, seed=3)
  np.testing.assert_array_equal(found[:, :2], drawn[4:7])


def test_another_seed_draws_other_images(unified, drawn):
  found = unified.draw(NAMES, CAPTIONS, 2, SAMPLER, seed=4)
  assert (found != drawn).any(-1).mean() > 0.9


@pytest.mark.parametrize('shape, chunk', [((1, 1), 5), ((4, 2), 16)])
def test_meshes_and_chunks_change_no_token(
  unified, model, drawn, said, answered, shape, chunk
):
  other = unified_on(model, shape, chunk)
  np.testing.assert_array_equal(
    other.draw(NAMES, CAPTIONS, 2, SAMPLER, seed=3), drawn
  )
  assert other.describe(NAMES, drawn[:, 0], LADDER, seed=3) == said
  assert other.answer(drawn[:, 0], QUESTIONS) == answered
  freely = dict(
    answering=question_answering.AnswerConfig(
      free=True, free_prompt='{question}'
    )
  )
  assert dataclasses.replace(other, **freely).answer(
    drawn[:, 0], QUESTIONS
  ) == dataclasses.replace(unified, **freely).answer(drawn[:, 0], QUESTIONS)
  given = dict(codes=drawn, known=np.arange(tiny.IMAGE_TOKENS) < drawn * 0 + 2)
  repainted = other.draw(NAMES, CAPTIONS, 2, SAMPLER, seed=4, **given)
  np.testing.assert_array_equal(
    repainted, unified.draw(NAMES, CAPTIONS, 2, SAMPLER, seed=4, **given)
  )
  assert (repainted != drawn).any()
  pixels = other.decode(drawn[:, 0])
  np.testing.assert_array_equal(pixels, unified.decode(drawn[:, 0]))
  np.testing.assert_array_equal(other.encode(pixels), unified.encode(pixels))


def test_fused_products_change_no_token(
  unified, monkeypatch, drawn, said, answered
):
  ready = functools.partial(serving_weights.prepare_for_serving, fused=True)
  monkeypatch.setattr(serving_weights, 'prepare_for_serving', ready)
  other = dataclasses.replace(unified)
  np.testing.assert_array_equal(
    other.draw(NAMES, CAPTIONS, 2, SAMPLER, seed=3), drawn
  )
  assert other.describe(NAMES, drawn[:, 0], LADDER, seed=3) == said
  assert other.answer(drawn[:, 0], QUESTIONS) == answered


def test_replies_do_not_depend_on_order_or_ladder(unified, drawn, said):
  found = unified.describe(NAMES[::-1], drawn[::-1, 0], LADDER[:2], seed=3)
  assert found == [replies[:2] for replies in said[::-1]]


def test_replies_do_not_depend_on_what_else_is_asked(unified, drawn, said):
  asked = ['what is there ?', text_tokenizer.CAPTION_PROMPT, 'how many ?']
  names, images = NAMES[:2], drawn[:2, 0]
  found = unified.reply(names, images, asked, LADDER, seed=3)
  assert [each[1] for each in found] == said[:2]
  for n, prompt in enumerate(asked):
    alone = unified.reply(names, images, [prompt], LADDER, seed=3)
    assert [each for (each,) in alone] == [each[n] for each in found]


def test_replies_are_words_of_the_world(said):
  words = {w for replies in said for text in replies for w in text.split()}
  assert words and words <= set(tiny.WORDS) | {'<|unk|>'}


def test_every_question_gets_one_of_its_choices(answered):
  assert [len(each) for each in answered] == [len(q) for q in QUESTIONS]
  for replies, asked in zip(answered, QUESTIONS):
    for reply, question in zip(replies, asked):
      assert reply in question['choices']


def test_no_questions_have_no_answers(unified, drawn):
  assert unified.answer(drawn[:2, 0], [[], []]) == [[], []]


def test_an_answer_does_not_depend_on_the_other_questions(
  unified, drawn, answered
):
  found = unified.answer(drawn[2:3, 0], QUESTIONS[2:3])
  assert found == answered[2:3]


@pytest.mark.parametrize('counts', [[1], [4, 4, 4], [0, 1, 5, 0, 2], [9, 1]])
@pytest.mark.parametrize('shared, each', [(1_000, 1), (1, 1_000), (19, 15)])
def test_questions_go_together_each_with_its_image(counts, shared, each):
  groups = batched.group_questions(counts, shared, each)
  image = np.repeat(np.arange(len(counts)), counts)
  assert (image[groups] == image[groups[:, :1]]).all()
  assert set(groups.ravel().tolist()) == set(range(sum(counts)))
  if shared == 1_000:
    assert groups.shape[1] == max(counts)
  if each == 1_000:
    assert groups.size == sum(counts)
  apart = sum(counts) * (shared + each)
  assert len(groups) * (shared + groups.shape[1] * each) <= apart


def test_free_answers_are_the_choice_nearest_to_what_is_said(unified, drawn):
  heard = []

  def matcher(replies, choices):
    heard.extend(zip(replies, choices))
    return [int(np.argmax([len(c) for c in each])) for each in choices]

  free = dataclasses.replace(
    unified,
    matcher=matcher,
    answering=question_answering.AnswerConfig(
      free=True, free_prompt='{question}'
    ),
  )
  found = free.answer(drawn[:, 0], QUESTIONS)
  wanted = [[max(q['choices'], key=len) for q in asked] for asked in QUESTIONS]
  assert found == wanted
  greedy = [batched.Decoding(1.0, 1)]
  for n, asked in enumerate(QUESTIONS):
    for question in asked:
      (((said,),),) = unified.reply(
        ['x'], drawn[n : n + 1, 0], [question['question']], greedy, seed=9
      )
      assert heard.pop(0) == (said, question['choices'])
  assert not heard


def test_a_free_answer_like_no_choice_is_none(unified, drawn):
  free = dataclasses.replace(
    unified,
    matcher=lambda replies, choices: [None] * len(replies),
    answering=question_answering.AnswerConfig(
      free=True, free_prompt='{question}'
    ),
  )
  found = free.answer(drawn[:, 0], QUESTIONS)
  assert found == [[''] * len(asked) for asked in QUESTIONS]


@pytest.mark.parametrize('most', [1, 3, 16])
def test_pads_change_nothing(unified, drawn, said, answered, monkeypatch, most):
  """Nor does it matter how many are left out."""
  monkeypatch.setattr(batched, 'LENGTH_MULTIPLE', most)
  found = unified.draw(NAMES, CAPTIONS, 2, SAMPLER, seed=3)
  np.testing.assert_array_equal(found, drawn)
  assert unified.describe(NAMES, drawn[:, 0], LADDER, seed=3) == said
  assert unified.answer(drawn[:, 0], QUESTIONS) == answered


def test_prompts_of_all_lengths_compile_few_sizes(unified, drawn):
  sizes = {
    question_answering.padded_parts(
      unified.vocab, drawn[:1, 0], [[3] * size], 100
    )[1].tokens.shape[1]
    for size in range(100 - 3 - tiny.IMAGE_TOKENS)
  }
  assert len(sizes) == -(
    -(100 - 3 - tiny.IMAGE_TOKENS) // batched.LENGTH_MULTIPLE
  )


def test_any_number_of_inputs_compiles_few_sizes(unified):
  """Up to 1,000 inputs of 1 to 10 rows each: at most a size a power of two."""
  sizes = set()

  def mapped(function, arrays, size, mesh, progress, clock):
    sizes.add(size)
    assert size % 8 == 0 and size <= 64
    assert size < 2 * max(8, len(arrays))

  wide = dataclasses.replace(unified, chunk=64)
  original, batching.map_batches = (batching.map_batches, mapped)
  try:
    for count in range(1, 1_000):
      for each in (1, 4, 10):
        wide._sampler.map('', None, np.zeros((count, 1)), each)
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
  plain = dataclasses.replace(SAMPLER, guidance=0.0)
  found = unified.draw(NAMES[:2], CAPTIONS[:2], 1, plain, seed=3)
  assert found.shape == (2, 1, tiny.IMAGE_TOKENS)


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
