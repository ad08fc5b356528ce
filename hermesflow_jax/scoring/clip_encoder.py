"""Vectors of images and texts by CLIP, in batches over a device mesh.

As with text encoders, a vector must not depend on the batch or the mesh: each
device computes ROWS images or texts at once.
"""

from collections.abc import Sequence
import functools
import weakref

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.checkpoints import clip_folder
from hermesflow_jax.models import clip_pixels
from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import sharding

# Images or texts that a device encodes at once.
ROWS = 16
# Encoders in use, by (path, mesh, dtype).
_IN_USE = weakref.WeakValueDictionary()


@jax.jit
def _encode_images(model, images):
  with jax.default_matmul_precision(_precision(model)):
    size = model.config.vision.image
    return model.image_features(clip_pixels.prepare_pixels(images, size))


@jax.jit
def _encode_texts(model, tokens):
  with jax.default_matmul_precision(_precision(model)):
    return model.text_features(tokens)


def _precision(model) -> str:
  # Accelerators round the inputs of float32 products by default.
  is_float32 = jnp.dtype(model.config.text.dtype) == jnp.float32
  return 'highest' if is_float32 else 'default'


class ClipEncoder:
  """A CLIP on a mesh, read at its first use.

  Args:
    path: folder of the converted CLIP.
    mesh: device mesh.
    dtype: dtype of activations and matrix products.
  """

  def __init__(self, path: str, mesh, dtype: str = 'float32'):
    self.path, self.mesh, self._dtype = path, mesh, dtype

  @functools.cached_property
  def _parts(self):
    return clip_folder.load(self.path, self.mesh, self._dtype)

  def encode_images(self, images: np.ndarray) -> np.ndarray:
    """Encodes images; all processes call it with the same images.

    Args:
      images: uint8[N, H, W, 3] of any size.

    Returns:
      float32[N, P], unit vectors.

    Raises:
      ValueError: the CLIP cannot be read; see `clip_folder.load`.
    """
    return self._map(_encode_images, images)

  def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
    """Encodes texts, equal texts once; all processes call it.

    Args:
      texts: N texts; what exceeds the positions of the tower is cut.

    Returns:
      float32[N, P], unit vectors.

    Raises:
      ValueError: see `encode_images`.
    """
    unique = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    vectors = self._map(_encode_texts, self._parts[1].encode(list(unique)))
    return vectors[[unique[text] for text in texts]]

  def _map(self, function, rows) -> np.ndarray:
    def encode(batch):
      with sharding.use_mesh(self.mesh):
        return function(self._parts[0], batch)

    chunk = ROWS * self.mesh.shape['data']
    return batching.map_batches(encode, rows, chunk, self.mesh)


def shared(path: str, mesh, dtype: str) -> ClipEncoder:
  """Returns the encoder that all scorers with these arguments share.

  Args:
    path: folder of the converted CLIP.
    mesh: device mesh.
    dtype: dtype of activations and matrix products.
  """
  key = path, mesh, dtype
  encoder = _IN_USE.get(key) or ClipEncoder(*key)
  _IN_USE[key] = encoder
  return encoder
