"""Reconstructions of images by a tokenizer, measured and shown."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.data import image_writer
from hermesflow_jax.data import picture_list
from hermesflow_jax.runtime import batching

# Images on the sheet of pairs.
_SHOWN = 24
_COLUMNS = 6


def reconstruct(model, images: np.ndarray, mesh, progress=iter):
  """Encodes and decodes images.

  Args:
    model: a Magvit.
    images: uint8[N, H, W, 3].
    mesh: device mesh.
    progress: wraps an iterable to show progress.

  Returns:
    (codes int32[N, h, w], images uint8[N, H, W, 3]).
  """

  @jax.jit
  def call(images):
    pixels = images.astype(jnp.float32) / 127.5 - 1.0
    codes = model.codes(model.encode(pixels))
    pixels = (model.decode(codes) + 1.0) * 127.5
    return codes, jnp.rint(jnp.clip(pixels, 0, 255)).astype(jnp.uint8)

  size = 64 * mesh.shape['data']
  return batching.map_batches(call, images, size, mesh, progress)


def measure_pictures(
  model,
  pictures: picture_list.Pictures,
  folder: pathlib.PurePath,
  mesh,
  progress=iter,
) -> dict:
  """Compares reconstructions of pictures with the originals.

  Writes `reconstructions.png`: pictures above their reconstructions.

  Args:
    model: a Magvit.
    pictures: held-out pictures.
    folder: folder for the sheet.
    mesh: device mesh.
    progress: wraps an iterable to show progress.

  Returns:
    Parameter count, and `scores` of the set `held_out`.
  """
  images = np.stack([example['image'] for example in pictures])
  codes, reconstructed = reconstruct(model, images, mesh, progress)
  sheet = pair_sheet(images, reconstructed)
  image_writer.save_png(folder / 'reconstructions.png', sheet, {})
  return {
    'parameters': sum(a.size for a in jax.tree.leaves(model)),
    'sets': {'held_out': scores(images, codes, reconstructed)},
  }


def scores(
  images: np.ndarray, codes: np.ndarray, reconstructed: np.ndarray
) -> dict:
  """Returns the number of images and codes, and the mean errors.

  Args:
    images: uint8[N, H, W, 3].
    codes: int[N, h, w], their codes.
    reconstructed: uint8[N, H, W, 3].

  Returns:
    `images`, `codes` (different codes), `mean_squared_error` in pixels of
    [-1, 1], and `psnr` in decibels.
  """
  error = float(np.mean((images / 127.5 - reconstructed / 127.5) ** 2))
  return {
    'images': len(images),
    'codes': len(np.unique(codes)),
    'mean_squared_error': error,
    'psnr': float(10 * np.log10(4.0 / max(error, 1e-12))),
  }


def pair_sheet(images: np.ndarray, reconstructed: np.ndarray) -> np.ndarray:
  """Returns a sheet of images, each above its reconstruction.

  Args:
    images: uint8[N, S, S, 3].
    reconstructed: uint8[N, S, S, 3].

  Returns:
    uint8[H, W, 3], with the first 24 images.
  """
  count = min(_SHOWN, len(images))
  columns = min(_COLUMNS, count)
  pairs = np.concatenate([images[:count], reconstructed[:count]], axis=1)
  blank = np.full((-count % columns, *pairs.shape[1:]), 255, np.uint8)
  pairs = np.concatenate([pairs, blank])
  rows = pairs.reshape(-1, columns, *pairs.shape[1:])
  return np.concatenate(
    [np.concatenate(list(row), axis=1) for row in rows], axis=0
  )
