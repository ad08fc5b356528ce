"""Vectors of texts by a text encoder, in batches over a device mesh.

The vector of a text must not depend on the batch, the mesh or the order of
texts. So each device computes blocks of one size, ROWS texts, and the padded
length of a text depends on its own length alone. Few sizes are compiled.
"""

from collections.abc import Callable
from collections.abc import Sequence
import functools
import weakref

import jax
import numpy as np

from hermesflow_jax.checkpoints import text_encoder_folder
from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import sharding
from hermesflow_jax.scoring import clip_encoder
from hermesflow_jax.scoring import encoder_settings

# Texts that a device encodes at once.
ROWS = 32
# Padded lengths in tokens, as far as the encoder has positions.
LENGTHS = (16, 32, 64, 128, 256, 512)
# Encoders in use, by (path, mesh, dtype).
_IN_USE = weakref.WeakValueDictionary()

# (states float32[B, T, D], mask bool[B, T]) -> float32[B, D].
Pool = Callable[[jax.Array, jax.Array], jax.Array]


@functools.partial(jax.jit, static_argnames='pool')
def _encode_rows(model, tokens, mask, *, pool):
  # Accelerators round the inputs of float32 products by default.
  precise = model.config.dtype == 'float32'
  with jax.default_matmul_precision('highest' if precise else 'default'):
    return pool(model(tokens, mask), mask)


class TextEncoder:
  """A text encoder on a mesh, read at its first use.

  Args:
    path: folder of the encoder.
    mesh: device mesh.
    dtype: dtype of matrix products.
  """

  def __init__(self, path: str, mesh, dtype: str = 'float32'):
    self.path, self.mesh, self._dtype = path, mesh, dtype

  @functools.cached_property
  def _parts(self):
    return text_encoder_folder.load(self.path, self.mesh, self._dtype)

  def encode(self, texts: Sequence[str], pool: Pool) -> np.ndarray:
    """Encodes texts; all processes call it with the same texts.

    Equal texts are encoded once.

    Args:
      texts: N texts; what exceeds the positions of the encoder is cut.
      pool: `text_pooling.first_token` or `masked_mean`.

    Returns:
      float32[N, D].

    Raises:
      ValueError: the encoder cannot be read; see `text_encoder_folder.load`.
    """
    model, tokenizer = self._parts
    unique = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    rows = tokenizer.encode(list(unique), model.config.longest)
    vectors = np.zeros((len(rows), model.config.width), np.float32)
    for length in sorted({self._padded_length(row) for row in rows}):
      places = [
        n for n, row in enumerate(rows) if self._padded_length(row) == length
      ]
      tokens = np.full((len(places), length), tokenizer.pad, np.int32)
      mask = np.zeros(tokens.shape, bool)
      for number, place in enumerate(places):
        row = rows[place]
        tokens[number, : len(row)], mask[number, : len(row)] = row, True
      vectors[places] = self._map(tokens, mask, pool)
    return vectors[[unique[text] for text in texts]]

  def _padded_length(self, row) -> int:
    longest = self._parts[0].config.longest
    fitting = (length for length in LENGTHS if length >= len(row))
    return min(next(fitting, longest), longest)

  def _map(self, tokens, mask, pool) -> np.ndarray:
    def encode(batch):
      with sharding.use_mesh(self.mesh):
        return _encode_rows(self._parts[0], *batch, pool=pool)

    chunk = ROWS * self.mesh.shape['data']
    return batching.map_batches(encode, (tokens, mask), chunk, self.mesh)


class TextEncoders:
  """The text encoders of a job.

  Scorers and matchers with the same encoder share its weights, as long as one
  of them is in use.

  Args:
    config: their folders.
    mesh: device mesh.
  """

  def __init__(self, config: encoder_settings.EncoderSettings, mesh):
    self._config, self._mesh = config, mesh
    self._encoders = {}

  def get(self, name: str) -> TextEncoder:
    """Returns an encoder.

    Args:
      name: key in `encoder_settings.SOURCES`.
    """
    if name not in self._encoders:
      key = self._config.path(name), self._mesh, self._config.dtype
      encoder = _IN_USE.get(key) or TextEncoder(*key)
      _IN_USE[key] = self._encoders[name] = encoder
    return self._encoders[name]

  def clip(self) -> clip_encoder.ClipEncoder:
    """Returns the CLIP, which encodes images, too."""
    path = self._config.path('clip')
    return clip_encoder.shared(path, self._mesh, self._config.dtype)


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Returns the cosines of pairs of vectors, in float64.

  Args:
    first: float[..., D].
    second: float[..., D], broadcast with `first`.

  Returns:
    float64[...] above -1.
  """
  first, second = (a.astype(np.float64) for a in (first, second))
  norms = [np.sqrt((a * a).sum(-1)) for a in (first, second)]
  cosine = (first * second).sum(-1) / np.maximum(norms[0] * norms[1], 1e-300)
  return np.clip(cosine, np.nextafter(-1, 0), 1.0)
