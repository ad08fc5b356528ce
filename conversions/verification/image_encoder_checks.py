"""Checks the models that score images: CLIP and Inception."""

from collections.abc import Mapping
import functools

import jax
import numpy as np

from conversions.verification import checks
from hermesflow_jax.models import clip_layers

# Hidden states reach 10 and more in trained models, features are unit vectors.
STATES, FEATURES, LOGITS = 1e-3, 1e-5, 1e-3
# Features of Inception reach 4.
POOLED = 1e-4
INCEPTION_INPUTS = frozenset(['pixels'])
CLIP_INPUTS = frozenset(['pixel_values', 'input_ids'])


def clip(
  model, activations: Mapping[str, np.ndarray]
) -> dict[str, checks.Check]:
  """Returns the checks of a complete CLIP by key.

  The keys are the fields of transformers' CLIPOutput: `image_embeds`,
  `text_embeds`, `logits_per_image`; and `vision_hidden_states`,
  `text_hidden_states` with the layers stacked in front.

  Args:
    model: a ClipModel.
    activations: arrays by key; `pixel_values` are normalized float32[B, 3, H,
      W], `input_ids` int[B, T].
  """

  def compute(function, *names):
    def call():
      arrays = (activations[name] for name in names)
      inputs = (np.moveaxis(a, 1, -1) if a.ndim == 4 else a for a in arrays)
      return jax.jit(function)(model, *inputs)

    return call

  pixels, tokens = 'pixel_values', 'input_ids'
  rows = (
    ('image_embeds', FEATURES, lambda m, x: m.image_features(x), pixels),
    ('text_embeds', FEATURES, lambda m, t: m.text_features(t), tokens),
    ('vision_hidden_states', STATES, _vision_states, pixels),
    ('text_hidden_states', STATES, _text_states, tokens),
    ('logits_per_image', LOGITS, _logits, pixels, tokens),
  )
  return {
    key: checks.Check(tuple(names), tolerance, compute(function, *names))
    for key, tolerance, function, *names in rows
  }


def inception(
  model, activations: Mapping[str, np.ndarray]
) -> dict[str, checks.Check]:
  """Returns the checks of Inception by key: `pool3` and `logits`.

  Args:
    model: an Inception.
    activations: arrays by key; `pixels` are float32[B, 3, H, W] in [-1, 1],
      `pool3` is float32[B, 2048].
  """

  @functools.cache
  def outputs():
    pixels = np.moveaxis(activations['pixels'], 1, -1)
    return jax.jit(lambda m, x: m(x))(model, pixels)

  return {
    'pool3': checks.Check(('pixels',), POOLED, lambda: outputs()[0]),
    'logits': checks.Check(('pixels',), LOGITS, lambda: outputs()[1]),
  }


def _vision_states(model, pixels) -> jax.Array:
  tower = model.vision
  return clip_layers.hidden_states(tower.layers, tower.embed(pixels))


def _text_states(model, tokens) -> jax.Array:
  tower = model.text
  embeddings = tower.embed(tokens)
  return clip_layers.hidden_states(tower.layers, embeddings, causal=True)


def _logits(model, pixels, tokens) -> jax.Array:
  return model.logits(model.image_features(pixels), model.text_features(tokens))
