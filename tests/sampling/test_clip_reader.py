"""The CLIP variant reads pixels, and drawn images as their pixels."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_unified
import tiny
import tiny_clip
import torch_weights

from hermesflow_jax.data import lazy_images
from hermesflow_jax.models import abstract_modules
from hermesflow_jax.models import clip_pixels
from hermesflow_jax.models import showo
from hermesflow_jax.sampling import likelihoods
from hermesflow_jax.sampling import scored_images
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import clip_rows
from hermesflow_jax.training import log_likelihood

CAPTIONS = ['red circle', 'two blue square', 'one green star']
CODES = np.random.default_rng(0).integers(0, 16, (3, tiny.IMAGE_TOKENS))
SAMPLERS = small_unified.SAMPLERS[:1]
QUESTIONS = [small_unified.QUESTIONS[2]] * 3


@pytest.fixture(scope='module')
def model():
  return tiny_clip.show_o(jax.random.key(5))


@pytest.fixture(scope='module')
def unified(model):
  return tiny_clip.unified_on(model)


@pytest.fixture(scope='module')
def pixels():
  rng = np.random.default_rng(1)
  return rng.integers(0, 256, (3, 16, 12, 3), np.uint8)


def expected_logps(unified, pixels):
  """Mean log-probabilities of captions in whole rows with a dense mask."""
  text = unified.text
  (system,) = text.encode([clip_rows.SYSTEM_PROMPT])
  prompt = f'USER: {unified.caption_prompt} ASSISTANT:'
  rows, where = clip_rows.clip_mmu_rows(
    unified.vocab,
    system,
    torch_weights.CLIP.patches,
    text.encode([prompt]) * 3,
    text.encode_replies(CAPTIONS),
    80,
  )

  @jax.jit
  def logits(model, tower, pixels):
    features = tower(clip_pixels.prepare_pixels(pixels, 12))
    x = model.embed_clip(rows.tokens, features, len(system) + 2)
    mask = attention_mask.mask_matrix_with_features(rows.ar, rows.valid, where)
    hidden, _ = model.from_embeddings(x, mask, jnp.arange(80))
    return model.logits(hidden)

  labels = log_likelihood.next_labels(rows.labels)
  logps = log_likelihood.token_logps(
    logits(unified.model, unified.vision, pixels), labels
  )
  return logps.sum(-1) / log_likelihood.label_counts(labels)


def test_a_cached_image_reads_as_a_whole_row(unified, pixels):
  np.testing.assert_allclose(
    likelihoods.caption_logps(unified, pixels, CAPTIONS),
    expected_logps(unified, pixels),
    atol=1e-5,
  )


def test_drawn_images_are_read_as_their_pixels(unified):
  image, _, _ = unified.reader.parts(CODES, np.arange(3), [[1]] * 3, 40)
  decoded = scored_images.decode(unified, CODES)
  expected = clip_pixels.crop_square(decoded, torch_weights.CLIP.image)
  np.testing.assert_array_equal(image.pixels, expected)


def test_images_of_files_are_read_as_an_array_of_pixels(unified, pixels):
  images = lazy_images.LazyImages(
    [functools.partial(pixels.__getitem__, n) for n in range(3)]
  )
  ask = unified.answerer.probabilities
  assert ask(images, QUESTIONS) == ask(pixels, QUESTIONS)


def test_a_blank_image_is_gray(unified, pixels):
  images = lazy_images.LazyImages([lambda: pixels[0]] * 2)
  image, _, _ = unified.reader.parts(images, np.arange(2), [[1]] * 2, 40)
  blank = unified.reader.blank(image).pixels
  np.testing.assert_array_equal(blank, np.full((2, 16, 12, 3), 128, np.uint8))


def test_a_model_without_its_tower_reads_nothing(unified):
  without = dataclasses.replace(unified, vision=None)
  with pytest.raises(ValueError, match='vision must be the CLIP tower'):
    without.answer(CODES, QUESTIONS)


def test_meshes_and_chunks_change_no_answer(unified, model, pixels):
  wide = tiny_clip.unified_on(model, (2, 2), chunk=16)
  assert unified.answer(pixels, QUESTIONS) == wide.answer(pixels, QUESTIONS)


def test_an_answer_depends_on_its_pixels_alone(unified, pixels):
  together = unified.answerer.probabilities(pixels, QUESTIONS)
  alone = unified.answerer.probabilities(pixels[1:2], QUESTIONS[1:2])
  for actual, expected in zip(alone[0], together[1]):
    assert actual == pytest.approx(expected, abs=1e-6)
  assert together[0] != together[1] != together[2]


def test_in_bfloat16_likelihoods_are_near(unified, pixels):
  abstract = abstract_modules.abstract_module(
    showo.ShowO, tiny_clip.sizes(dtype='bfloat16')
  )
  low = jax.tree.unflatten(
    jax.tree.structure(abstract), jax.tree.leaves(unified.model)
  )
  low = dataclasses.replace(unified, model=low)
  # bfloat16 has 8 bits; logits reach 4.
  np.testing.assert_allclose(
    likelihoods.caption_logps(low, pixels, CAPTIONS),
    likelihoods.caption_logps(unified, pixels, CAPTIONS),
    atol=0.05,
  )
