"""Softmax attention with interchangeable backends: XLA, cuDNN, splash.

Most queries belong to an image, and all queries of an image attend to the same
keys: the image and the valid tokens of the text before it. Such a mask is just
a count of keys, which the GPU kernel (cuDNN) and the TPU kernel (splash
attention) support, and these kernels never store scores. XLA computes the few
text queries on every platform.
"""

from collections.abc import Sequence
import functools

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.models import attention_kernels
from hermesflow_jax.sequences import attention_mask

BACKENDS = ('auto', 'xla', 'cudnn', 'splash')


def choose_backend(name: str, platform: str) -> str:
  """Returns the backend to use on a platform.

  Args:
    name: an entry in BACKENDS. 'auto' selects splash attention on TPUs and
      XLA elsewhere; cuDNN must be selected by name.
    platform: 'cpu', 'gpu' or 'tpu'.
  """
  if name != 'auto':
    return name
  return 'splash' if platform == 'tpu' else 'xla'


def attend(
  q: jax.Array,
  parts: Sequence[tuple[jax.Array, jax.Array]],
  mask: attention_mask.Mask | Sequence[attention_mask.Mask],
  backend: str = 'xla',
) -> jax.Array:
  """Computes softmax attention over keys that are stored in several arrays.

  XLA does not concatenate the arrays: a part that is shared by many rows of a
  `jax.vmap` stays a single array and is read once. Scores are float32.

  Args:
    q: [..., T, N, H], queries.
    parts: (k, v) pairs, both [..., S_i, N, H]; S is the sum of all S_i.
    mask: bool[..., T, S], True where query t attends to key s; or a list with
      a mask per part, None or `attention_mask.Interval`, which avoids the
      T x S array. A query without visible keys gets the mean of all values.
    backend: an entry in BACKENDS other than 'auto'. cuDNN and splash attention
      compute the calls that `image_attention` accepts, without a gradient;
      XLA computes all other calls.

  Returns:
    [..., T, N, H], same dtype as `q`.

  Raises:
    ValueError: the number of masks differs from the number of parts.
  """
  masks = mask
  if not isinstance(mask, (list, tuple)):
    ends = np.cumsum([k.shape[-3] for k, _ in parts])
    masks = jnp.split(mask, ends[:-1], -1)
  if backend != 'xla' and image_attention(q, masks):
    return _run_kernel(q, parts, masks, backend, under_vmap=True)
  scores = []
  for (k, _), part_mask in zip(parts, masks, strict=True):
    s = (
      jnp.einsum(
        '...tnh,...snh->...nts', q, k, preferred_element_type=jnp.float32
      )
      * q.shape[-1] ** -0.5
    )
    if isinstance(part_mask, attention_mask.Interval):
      part_mask = part_mask.keys(k.shape[-3])
    if part_mask is not None:
      s = jnp.where(part_mask[..., None, :, :], s, attention_mask.LOWEST)
    scores.append(s)
  # A softmax over all parts without concatenation; the division comes last.
  top = functools.reduce(
    jnp.maximum, [s.max(-1, keepdims=True) for s in scores]
  )
  weights = [jnp.exp(s - jax.lax.stop_gradient(top)) for s in scores]
  total = sum(w.sum(-1) for w in weights)
  out = sum(
    jnp.einsum(
      '...nts,...snh->...tnh',
      w.astype(v.dtype),
      v,
      preferred_element_type=jnp.float32,
    )
    for w, (_, v) in zip(weights, parts)
  )
  return (out / jnp.swapaxes(total, -1, -2)[..., None]).astype(q.dtype)


def packed_attention(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  mask: attention_mask.Packed,
  backend: str = 'xla',
) -> jax.Array:
  """Computes `attend` for every segment of packed rows.

  Args:
    q: [..., T, N, H], queries.
    k: [..., T, N, H], keys.
    v: [..., T, N, H], values.
    mask: layout and masks of the T tokens.
    backend: an entry in BACKENDS other than 'auto'; computes the images.

  Returns:
    [..., T, N, H].
  """
  ends = np.cumsum([s.count * s.size for s in mask.segments])

  def split_copies(a):
    """[..., C, T, N, H] for each segment."""
    return [
      p.reshape(*p.shape[:-3], s.count, s.size, *p.shape[-2:])
      for p, s in zip(jnp.split(a, ends[:-1], axis=-3), mask.segments)
    ]

  q, k, v = split_copies(q), split_copies(k), split_copies(v)
  outputs = []
  for n, segment in enumerate(mask.segments):
    prefix, prefix_mask = [], []
    if segment.prefix is not None:
      prefix = [(k[segment.prefix], v[segment.prefix])]
      prefix_mask = [mask.prefix[n]]
    first = segment.image if backend != 'xla' else 0
    pieces = []
    if first:
      pieces.append(
        _run_kernel(
          q[n][..., :first, :, :],
          [*prefix, (k[n][..., :first, :, :], v[n][..., :first, :, :])],
          [*prefix_mask, None],
          backend,
        )
      )
    if first < segment.size:
      own = mask.own[n] and mask.own[n].skip_queries(first)
      pieces.append(
        attend(
          q[n][..., first:, :, :], [*prefix, (k[n], v[n])], [*prefix_mask, own]
        )
      )
    out = jnp.concatenate(pieces, axis=-3)
    outputs.append(out.reshape(*out.shape[:-4], -1, *out.shape[-2:]))
  return jnp.concatenate(outputs, axis=-3)


def image_attention(q: jax.Array, masks: Sequence[attention_mask.Mask]) -> bool:
  """Returns whether the queries can be those of an image.

  They can if several queries attend to the same keys: to all keys of every
  part, except for leading keys of at most a single part.

  Args:
    q: [..., T, N, H], queries.
    masks: a mask per part, see `attend`.
  """

  def same_for_all(mask):
    if mask is None:
      return True
    if not isinstance(mask, attention_mask.Interval) or mask.end is not None:
      return False
    return mask.start is not None and mask.start.shape[-1] == 1

  bounded = sum(mask is not None for mask in masks)
  several = q.shape[-3] > 1 and len(masks) > bounded <= 1
  return several and all(map(same_for_all, masks))


def _run_kernel(q, parts, masks, backend, under_vmap=False):
  """Computes `attend` of image queries by cuDNN or splash attention."""
  starts = [None if mask is None else mask.start[..., 0] for mask in masks]
  kernel = (
    attention_kernels.cudnn if backend == 'cudnn' else attention_kernels.splash
  )
  return kernel(q, parts, starts, under_vmap)
