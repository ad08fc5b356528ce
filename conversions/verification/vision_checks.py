"""Checks the models that read images: MAGVIT-v2 and CLIP."""

from collections.abc import Mapping
import functools
import re

import jax
import numpy as np

from conversions.verification import checks
from hermesflow_jax.models import lfq

PIXELS = 1e-4
LOSS = 1e-5
INPUTS = frozenset(['clip_pixels'])


@jax.jit
def _encode(model, pixels):
  return model.encode(pixels)


@jax.jit
def _decode(model, codes):
  return model.decode(codes)


def inputs(activations: Mapping[str, np.ndarray]) -> frozenset[str]:
  """Returns the keys that are only read."""
  pixels = {key for key in activations if re.fullmatch(r'pixels_\d+', key)}
  return INPUTS | pixels


def magvit(
  model, activations: Mapping[str, np.ndarray], scale: float = 1.0
) -> dict[str, checks.Check]:
  """Returns MAGVIT-v2's checks by key.

  Codes must be equal, except for bits whose latent is nearer to 0 than the
  latent tolerance.

  Args:
    model: a Magvit.
    activations: arrays by key; images are float32[B, C, H, W].
    scale: multiplies the latent tolerance for the exception above.
  """
  checks_by_key = {}
  for key in activations:
    match = re.fullmatch(
      r'(?:z|indices|recon|entropy_loss|quantizer_loss)_(\d+)', key
    )
    if match:
      checks_by_key |= _magvit_case(
        model, activations, match[1], PIXELS * scale
      )
  return checks_by_key


def _magvit_case(model, activations, case: str, margin: float):
  """Returns the checks for the keys that end with `_<case>`."""
  last = lambda images: np.moveaxis(images, 1, -1)
  first = lambda images: np.moveaxis(np.asarray(images), -1, 1)
  z = functools.cache(
    lambda: _encode(model, last(activations[f'pixels_{case}']))
  )

  def indices():
    latents = np.asarray(z())
    latents = latents.reshape(len(latents), -1, latents.shape[-1])
    expected = activations.get(f'indices_{case}')
    if expected is not None and expected.shape == latents.shape[:2]:
      bits = lfq.unpack(expected, latents.shape[-1])
      latents = np.where(np.abs(latents) < margin, bits, latents)
    return model.codes(latents)

  def recon():
    batch, _, height, width = activations[f'pixels_{case}'].shape
    codes = activations.get(f'indices_{case}')
    codes = np.asarray(indices() if codes is None else codes)
    return first(
      _decode(
        model,
        codes.reshape(
          batch, height // model.reduction, width // model.reduction
        ),
      )
    )

  needs = (f'pixels_{case}',)
  rows = (
    ('z', PIXELS, lambda: first(z())),
    ('indices', 0, indices),
    ('recon', PIXELS, recon),
    ('entropy_loss', LOSS, lambda: 0.1 * lfq.entropy_loss(z())),
    (
      'quantizer_loss',
      LOSS,
      lambda: 0.1 * (1 + 0.25) * lfq.commitment_loss(z()),
    ),
  )
  return {
    f'{name}_{case}': checks.Check(needs, tolerance, compute)
    for name, tolerance, compute in rows
  }


def clip(
  model, activations: Mapping[str, np.ndarray]
) -> dict[str, checks.Check]:
  """Returns the check of CLIP's tower: `clip_pixels` -> `clip_features`.

  Args:
    model: a Clip.
    activations: arrays by key; pixels are normalized float32[B, 3, H, W].
  """
  compute = lambda: jax.jit(lambda m, x: m(x))(
    model, np.moveaxis(activations['clip_pixels'], 1, -1)
  )
  return {'clip_features': checks.Check(('clip_pixels',), PIXELS, compute)}
