"""Checks of the models that read images: MAGVIT-v2, and CLIP's tower."""

from collections.abc import Mapping
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


def inputs(found: Mapping[str, np.ndarray]) -> frozenset[str]:
  """Returns the keys that are only read."""
  return INPUTS | {key for key in found if re.fullmatch(r'pixels_\d+', key)}


def magvit(
  model, found: Mapping[str, np.ndarray], scale: float = 1.0
) -> dict[str, checks.Check]:
  """Returns the checks of a MAGVIT-v2.

  Args:
    model: a Magvit.
    found: the file of activations, images as [B, C, H, W].
    scale: of the tolerance. Codes must be equal but in bits whose latent is
      nearer to 0 than the tolerance of latents: these may fall either way.
  """
  made = {}
  for key in found:
    match = re.fullmatch(
      r'(?:z|indices|recon|entropy_loss|quantizer_loss)_(\d+)', key
    )
    if match:
      made |= _magvit_case(model, found, match[1], PIXELS * scale)
  return made


def _magvit_case(model, found, case, margin):
  last = lambda images: np.moveaxis(images, 1, -1)
  first = lambda images: np.moveaxis(np.asarray(images), -1, 1)
  z = lambda: _encode(model, last(found[f'pixels_{case}']))

  def indices():
    latents = np.asarray(z())
    latents = latents.reshape(len(latents), -1, latents.shape[-1])
    wanted = found.get(f'indices_{case}')
    if wanted is not None and wanted.shape == latents.shape[:2]:
      bits = lfq.unpack(wanted, latents.shape[-1])
      latents = np.where(np.abs(latents) < margin, bits, latents)
    return model.codes(latents)

  def recon():
    batch, _, height, width = found[f'pixels_{case}'].shape
    codes = found.get(f'indices_{case}')
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


def clip(model, found: Mapping[str, np.ndarray]) -> dict[str, checks.Check]:
  """Returns the check of CLIP's tower: `clip_pixels` -> `clip_features`.

  Args:
    model: a Clip.
    found: the file of activations; pixels [B, 3, H, W], normalised.
  """
  compute = lambda: jax.jit(lambda m, x: m(x))(
    model, np.moveaxis(found['clip_pixels'], 1, -1)
  )
  return {'clip_features': checks.Check(('clip_pixels',), PIXELS, compute)}
