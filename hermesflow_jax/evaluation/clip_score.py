"""CLIP score: mean cosine between images and their texts, times 100.

Scores depend on the network (ViT-B/32 in most papers), on the preparation of
pixels and on a prefix of the texts, so results name all three. The form of
arXiv 2104.08718 multiplies by 2.5 and clips at 0; this one does neither.
"""

from collections.abc import Callable

import numpy as np

from hermesflow_jax.runtime import batching


def pair_cosines(
  function: Callable, images: np.ndarray, tokens: np.ndarray, size: int, mesh
) -> np.ndarray:
  """Computes the cosine of each image and its text on a mesh.

  Args:
    function: compiled function (uint8[size, H, W, 3], int32[size, T]) ->
      float32[size]; it prepares the pixels, too (`ClipModel.cosines` of
      models/clip_scores.py with models/clip_pixels.py).
    images: uint8[N, H, W, 3].
    tokens: int32[N, T], texts with their end, padded on the right.
    size: pairs per call, a multiple of the mesh's `data` axis. The last call is
      padded, so that only one shape is compiled.
    mesh: device mesh from `sharding.make_mesh`.

  Returns:
    float32[N], -1 to 1.

  Raises:
    ValueError: N is 0, the numbers of images and texts differ, or `size` does
      not split over the mesh.
  """
  if len(images) != len(tokens):
    raise ValueError(
      f'every image must have a text, got {len(images)} images and '
      f'{len(tokens)} texts'
    )
  return batching.map_batches(
    lambda batch: function(*batch), (images, tokens), size, mesh
  )


def clip_score(cosines: np.ndarray) -> float:
  """Computes the CLIP score.

  Args:
    cosines: float[N], from `pair_cosines`.

  Returns:
    Mean in float64, times 100: -100 to 100.

  Raises:
    ValueError: N is 0, or a cosine is not finite.
  """
  cosines = np.asarray(cosines, np.float64)
  if not cosines.size or not np.isfinite(cosines).all():
    raise ValueError(
      f'cosines must be finite and at least 1, got {cosines.size} of which '
      f'{int(np.isfinite(cosines).sum())} are finite'
    )
  return float(100 * cosines.mean())
