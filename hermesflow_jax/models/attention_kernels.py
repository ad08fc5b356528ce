"""Attention kernels: cuDNN on GPUs, Splash on TPUs."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

P = jax.sharding.PartitionSpec


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
