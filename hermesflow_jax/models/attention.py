"""Attention, computed by several backends that agree.

Whatever the rows, most queries are those of an image, and all queries of an
image see the same keys: the image, and what is no pad of the text before it.
That needs no mask, only a count of keys, which the kernels of GPUs (cuDNN) and
TPUs (splash attention) know, and they keep no scores. The few queries of text
are left to XLA everywhere.
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
  """Returns the backend that `name` means where arrays live.

  Args:
    name: of BACKENDS; 'auto' is splash attention on TPUs and XLA elsewhere:
      cuDNN wants to be asked for until it was seen to run.
    platform: 'cpu', 'gpu' or 'tpu'.
  """
  if name != 'auto':
    return name
  return 'splash' if platform == 'tpu' else 'xla'


def attend(q: jax.Array, parts, sees, backend: str = 'xla'):
  """Softmax attention in float32 over keys that lie in several arrays.

  XLA never puts them together: a part that is the same for many rows of a
  `jax.vmap` stays one array, and is read once for all of them.

  Args:
    q: [..., T, N, H].
    parts: (k, v) pairs, both [..., S_i, N, H]; S is the sum of all S_i.
    sees: who sees whom. A list has None for each part that every query sees,
      or a `attention_mask.Interval` of its keys: then no mask is kept. An array
      bool[..., T, S] is True where query t sees key s. A query that sees
      no key gets the mean of all values.
    backend: of BACKENDS but 'auto'; another than 'xla' computes what queries
      of images see (see `image_attention`), without a gradient, and XLA the rest.

  Returns:
    [..., T, N, H].
  """
  if not isinstance(sees, (list, tuple)):
    sees = jnp.split(sees, np.cumsum([k.shape[-3] for k, _ in parts])[:-1], -1)
  if backend != 'xla' and image_attention(q, sees):
    return _of_image(q, parts, sees, backend, mapped=True)
  scores = []
  for (k, _), seen in zip(parts, sees, strict=True):
    s = (
      jnp.einsum(
        '...tnh,...snh->...nts', q, k, preferred_element_type=jnp.float32
      )
      * q.shape[-1] ** -0.5
    )
    if isinstance(seen, attention_mask.Interval):
      seen = seen.keys(k.shape[-3])
    if seen is not None:
      s = jnp.where(seen[..., None, :, :], s, jnp.finfo(jnp.float32).min)
    scores.append(s)
  # The softmax without putting scores together, and divided by at the end.
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
  row: attention_mask.Packed,
  backend: str = 'xla',
):
  """`attend` of each segment of a packed row; q, k and v are [..., T, N, H]."""
  ends = np.cumsum([s.count * s.size for s in row.segments])

  def copies(a):
    """[..., C, T, N, H] of each segment."""
    return [
      p.reshape(*p.shape[:-3], s.count, s.size, *p.shape[-2:])
      for p, s in zip(jnp.split(a, ends[:-1], axis=-3), row.segments)
    ]

  q, k, v = copies(q), copies(k), copies(v)
  out = []
  for n, segment in enumerate(row.segments):
    before, known = [], []
    if segment.after is not None:
      before = [(k[segment.after], v[segment.after])]
      known = [row.before[n]]
    first = segment.image if backend != 'xla' else 0
    found = []
    if first:
      found.append(
        _of_image(
          q[n][..., :first, :, :],
          [*before, (k[n][..., :first, :, :], v[n][..., :first, :, :])],
          [*known, None],
          backend,
        )
      )
    if first < segment.size:
      own = row.own[n] and row.own[n].after(first)
      found.append(
        attend(q[n][..., first:, :, :], [*before, (k[n], v[n])], [*known, own])
      )
    found = jnp.concatenate(found, axis=-3)
    out.append(found.reshape(*found.shape[:-4], -1, *found.shape[-2:]))
  return jnp.concatenate(out, axis=-3)


def image_attention(q, sees: Sequence) -> bool:
  """Whether these are queries of an image.

  They are several, and all see the same keys: all of every part, but for some
  first ones of one.
  """

  def same(seen):
    if seen is None:
      return True
    if not isinstance(seen, attention_mask.Interval) or seen.end is not None:
      return False
    return seen.start is not None and seen.start.shape[-1] == 1

  bounded = sum(seen is not None for seen in sees)
  several = q.shape[-3] > 1 and len(sees) > bounded <= 1
  return several and all(map(same, sees))


def _of_image(q, parts, sees, backend, mapped=False):
  """`attend` for which `image_attention` holds, by another backend than XLA."""
  starts = [None if seen is None else seen.start[..., 0] for seen in sees]
  kernel = (
    attention_kernels.cudnn if backend == 'cudnn' else attention_kernels.splash
  )
  return kernel(q, parts, starts, mapped)
