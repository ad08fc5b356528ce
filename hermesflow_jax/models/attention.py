"""Attention, computed by several backends that agree.

Whatever the rows, most queries are those of an image, and all queries of an
image see the same keys: the image, and what is no pad of the text before it.
That needs no mask, only a count of keys, which the kernels of GPUs (cuDNN) and
TPUs (splash attention) know, and they keep no scores. The few queries of text
are left to XLA everywhere.
"""

from collections.abc import Sequence
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax import masks

P = jax.sharding.PartitionSpec
BACKENDS = ('auto', 'xla', 'cudnn', 'splash')


def backend_of(name: str, platform: str) -> str:
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
      or a `masks.Interval` of its keys: then no mask is kept. An array
      bool[..., T, S] is True where query t sees key s. A query that sees
      no key gets the mean of all values.
    backend: of BACKENDS but 'auto'; another than 'xla' computes what queries
      of images see (see `image_block`), without a gradient, and XLA the rest.

  Returns:
    [..., T, N, H].
  """
  if not isinstance(sees, (list, tuple)):
    sees = jnp.split(sees, np.cumsum([k.shape[-3] for k, _ in parts])[:-1], -1)
  if backend != 'xla' and image_block(q, sees):
    return _of_image(q, parts, sees, backend, mapped=True)
  scores = []
  for (k, _), seen in zip(parts, sees, strict=True):
    s = (
      jnp.einsum(
        '...tnh,...snh->...nts', q, k, preferred_element_type=jnp.float32
      )
      * q.shape[-1] ** -0.5
    )
    if isinstance(seen, masks.Interval):
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


def attend_packed(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  row: masks.Packed,
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


def image_block(q, sees: Sequence) -> bool:
  """Whether these are queries of an image.

  They are several, and all see the same keys: all of every part, but for some
  first ones of one.
  """

  def same(seen):
    if seen is None:
      return True
    if not isinstance(seen, masks.Interval) or seen.end is not None:
      return False
    return seen.start is not None and seen.start.shape[-1] == 1

  bounded = sum(seen is not None for seen in sees)
  several = q.shape[-3] > 1 and len(sees) > bounded <= 1
  return several and all(map(same, sees))


def _of_image(q, parts, sees, backend, mapped=False):
  """`attend` for which `image_block` holds, by another backend than XLA."""
  starts = [None if seen is None else seen.start[..., 0] for seen in sees]
  kernel = cudnn if backend == 'cudnn' else splash
  return kernel(q, parts, starts, mapped)


def _joined(q, parts, starts):
  """One array of keys, those that are always seen first.

  The part with pads is the last, and turned round: its pads are at the end.

  Returns:
    q [B, T, N, H], k and v [B, S, N, H], the number of keys that are seen
    int32[B], and the shape of the result.
  """
  order = sorted(range(len(parts)), key=lambda n: starts[n] is not None)
  rows = np.broadcast_shapes(
    q.shape[:-3],
    *(k.shape[:-3] for k, _ in parts),
    *(s.shape for s in starts if s is not None),
  )

  def flat(a, kept):
    a = jnp.broadcast_to(a, (*rows, *a.shape[a.ndim - kept :]))
    return a.reshape(math.prod(rows), *a.shape[len(rows) :])

  keys, values = (
    jnp.concatenate(
      [
        flat(parts[n][which], 3)[:, :: -1 if starts[n] is not None else 1]
        for n in order
      ],
      axis=1,
    )
    for which in (0, 1)
  )
  seen = jnp.array(keys.shape[1], jnp.int32)
  if starts[order[-1]] is not None:
    seen = seen - starts[order[-1]]
  return flat(q, 3), keys, values, flat(seen, 0), (*rows, *q.shape[-3:])


def _lengthened(a, size: int):
  """[B, T, N, H] with zeros up to T = size."""
  return jnp.pad(a, [(0, 0), (0, size - a.shape[1]), (0, 0), (0, 0)])


def cudnn(
  q, parts, starts, mapped: bool = False, implementation: str = 'cudnn'
):
  """`attend` of an image's queries by cuDNN, without masks or scores.

  Args:
    q: [..., T, N, H], bfloat16.
    parts: see `attend`.
    starts: int32[...], the first key that is seen of each part; or None.
    mapped: whether it stands within `jax.vmap`; then it has no gradient.
    implementation: 'xla' to see the same call without a GPU.
  """
  kernel = functools.partial(_cudnn, implementation=implementation)
  return _run(kernel, q, parts, starts, mapped)


def splash(q, parts, starts, mapped: bool = False, interpret: bool = False):
  """`attend` of an image's queries by TPUs' splash attention.

  Args:
    q: [..., T, N, H].
    parts: see `attend`.
    starts: int32[...], the first key that is seen of each part; or None.
    mapped: whether it stands within `jax.vmap`; then it has no gradient.
    interpret: runs the kernel without a TPU, slowly.
  """
  kernel = functools.partial(_splash, interpret=interpret)
  return _run(kernel, q, parts, starts, mapped)


def _run(kernel, q, parts, starts, mapped):
  """A kernel of q, k, v and the number of keys that are seen, of rows."""
  *arrays, shape = _joined(q, parts, starts)
  function = functools.partial(_split, kernel)
  if mapped:
    function = _unmapped(function)
  return function(*arrays).reshape(shape)


def _unmapped(function):
  """A function of rows for which `jax.vmap` adds rows.

  Mapped over as it is, each part of a mesh would compute all rows.
  """
  wrapped = jax.custom_batching.custom_vmap(function)

  @wrapped.def_vmap
  def _(size, mapped, *args):
    args = [
      a if is_mapped else jnp.broadcast_to(a, (size, *a.shape))
      for a, is_mapped in zip(args, mapped)
    ]
    out = wrapped(*(a.reshape(-1, *a.shape[2:]) for a in args))
    return out.reshape(size, -1, *out.shape[1:]), True

  return wrapped


def _split(kernel, q, k, v, seen):
  """A kernel of the rows (over `data`) and heads (over `model`) of a device."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return kernel(q, k, v, seen)

  def axis(name, size):
    return name if size % mesh.shape.get(name, size + 1) == 0 else None

  spec = P(axis('data', q.shape[0]), None, axis('model', q.shape[2]), None)
  return jax.shard_map(
    kernel,
    in_specs=(spec, spec, spec, P(spec[0])),
    out_specs=spec,
    check_vma=False,
  )(q, k, v, seen)


def _cudnn(q, k, v, seen, implementation):
  size = q.shape[1]
  # Lengths that its kernels take.
  q = _lengthened(q, -(-size // 8) * 8)
  k, v = (_lengthened(a, -(-a.shape[1] // 8) * 8) for a in (k, v))
  return jax.nn.dot_product_attention(
    q, k, v, key_value_seq_lengths=seen, implementation=implementation
  )[:, :size]


def _splash(q, k, v, seen, interpret):
  # It is experimental, and slow to import: only who uses it depends on it.
  from jax.experimental.pallas.ops.tpu import splash_attention as lib

  size = q.shape[1]
  rows, block_q = _blocks(size)
  keys, block_k = _blocks(k.shape[1])
  q = _lengthened(q * q.shape[-1] ** -0.5, rows)
  k, v = _lengthened(k, keys), _lengthened(v, keys)
  q, k, v = (jnp.swapaxes(a, 1, 2) for a in (q, k, v))
  kernel = lib.make_splash_mha_single_device(
    lib.MultiHeadMask([lib.FullMask((rows, keys))] * q.shape[1]),
    block_sizes=lib.BlockSizes(
      block_q=block_q,
      block_kv=block_k,
      block_kv_compute=block_k,
      block_q_dkv=block_q,
      block_kv_dkv=block_k,
      block_kv_dkv_compute=block_k,
      use_fused_bwd_kernel=True,
    ),
    interpret=interpret,
  )
  # Queries see keys of their own kind.
  kinds = lib.SegmentIds(
    q=jnp.ones((q.shape[0], rows), jnp.int32),
    kv=(jnp.arange(keys) < seen[:, None]).astype(jnp.int32),
  )
  out = jax.vmap(kernel)(q, k, v, kinds)
  return jnp.swapaxes(out, 1, 2)[:, :size]


def _blocks(size: int) -> tuple[int, int]:
  """Returns (the length that `size` is padded to, what it is cut into).

  Blocks are multiples of the 128 lanes of a TPU, and of three to eight of them
  where the size allows it: smaller ones keep the units of products waiting.
  """
  lanes = -(-size // 128)
  if lanes <= 8:
    return lanes * 128, lanes * 128
  while True:
    for parts in range(8, 2, -1):
      if lanes % parts == 0:
        return lanes * 128, parts * 128
    lanes += 1
