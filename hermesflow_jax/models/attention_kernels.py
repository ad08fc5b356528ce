"""Attention kernels for image queries: cuDNN on GPUs, splash on TPUs."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

P = jax.sharding.PartitionSpec


def _concatenate(q, parts, starts):
  """Concatenates the parts, such that the visible keys come first.

  The part with pads on the left is last and reversed, so its pads come last.

  Returns:
    q [B, T, N, H], k [B, S, N, H], v [B, S, N, H], the number of visible keys
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
        flat(parts[n][i], 3)[:, :: -1 if starts[n] is not None else 1]
        for n in order
      ],
      axis=1,
    )
    for i in (0, 1)
  )
  visible = jnp.array(keys.shape[1], jnp.int32)
  if starts[order[-1]] is not None:
    visible = visible - starts[order[-1]]
  return flat(q, 3), keys, values, flat(visible, 0), (*rows, *q.shape[-3:])


def _pad_length(a, size: int):
  """Pads [B, T, N, H] with zeros to T = size."""
  return jnp.pad(a, [(0, 0), (0, size - a.shape[1]), (0, 0), (0, 0)])


def cudnn(
  q, parts, starts, under_vmap: bool = False, implementation: str = 'cudnn'
):
  """Computes attention for the queries of an image with cuDNN.

  Args:
    q: bfloat16[..., T, N, H], queries.
    parts: (k, v) pairs, see `attention.attend`.
    starts: for each part, the first visible key int32[...], or None.
    under_vmap: whether the call is inside `jax.vmap`; then it has no gradient.
    implementation: 'cudnn'; 'xla' tests the same call without a GPU.

  Returns:
    [..., T, N, H].
  """
  kernel = functools.partial(_cudnn, implementation=implementation)
  return _run(kernel, q, parts, starts, under_vmap)


def splash(q, parts, starts, under_vmap: bool = False, interpret: bool = False):
  """Computes attention for the queries of an image with splash attention.

  Args:
    q: [..., T, N, H], queries.
    parts: (k, v) pairs, see `attention.attend`.
    starts: for each part, the first visible key int32[...], or None.
    under_vmap: whether the call is inside `jax.vmap`; then it has no gradient.
    interpret: interpret the kernel, which is slow but needs no TPU.

  Returns:
    [..., T, N, H].
  """
  kernel = functools.partial(_splash, interpret=interpret)
  return _run(kernel, q, parts, starts, under_vmap)


def _run(kernel, q, parts, starts, under_vmap):
  """Runs a kernel on the concatenated parts."""
  *arrays, shape = _concatenate(q, parts, starts)
  function = functools.partial(_run_sharded, kernel)
  if under_vmap:
    function = _fold_vmap(function)
  return function(*arrays).reshape(shape)


def _fold_vmap(function):
  """Folds the axis of `jax.vmap` into the rows of a batched function.

  Under the default rule, every device of a mesh would compute all rows.
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


def _run_sharded(kernel, q, k, v, visible):
  """Runs a kernel with rows split over `data` and heads over `model`."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return kernel(q, k, v, visible)

  def axis(name, size):
    return name if size % mesh.shape.get(name, size + 1) == 0 else None

  spec = P(axis('data', q.shape[0]), None, axis('model', q.shape[2]), None)
  return jax.shard_map(
    kernel,
    in_specs=(spec, spec, spec, P(spec[0])),
    out_specs=spec,
    check_vma=False,
  )(q, k, v, visible)


def _cudnn(q, k, v, visible, implementation):
  size = q.shape[1]
  # The kernels of cuDNN accept lengths that are multiples of 8.
  q = _pad_length(q, -(-size // 8) * 8)
  k, v = (_pad_length(a, -(-a.shape[1] // 8) * 8) for a in (k, v))
  return jax.nn.dot_product_attention(
    q, k, v, key_value_seq_lengths=visible, implementation=implementation
  )[:, :size]


def _splash(q, k, v, visible, interpret):
  # Imported on use: the module is experimental and slow to import.
  from jax.experimental.pallas.ops.tpu import splash_attention as lib

  size = q.shape[1]
  rows, block_q = _blocks(size)
  keys, block_k = _blocks(k.shape[1])
  q = _pad_length(q * q.shape[-1] ** -0.5, rows)
  k, v = _pad_length(k, keys), _pad_length(v, keys)
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
  # Queries attend to keys with the same segment id.
  segment_ids = lib.SegmentIds(
    q=jnp.ones((q.shape[0], rows), jnp.int32),
    kv=(jnp.arange(keys) < visible[:, None]).astype(jnp.int32),
  )
  out = jax.vmap(kernel)(q, k, v, segment_ids)
  return jnp.swapaxes(out, 1, 2)[:, :size]


def _blocks(size: int) -> tuple[int, int]:
  """Returns (padded length, block size) for a length.

  Blocks are multiples of the 128 lanes of a TPU. Longer lengths are cut into
  blocks of 3 to 8 times 128: smaller blocks leave the matrix units idle.
  """
  lanes = -(-size // 128)
  if lanes <= 8:
    return lanes * 128, lanes * 128
  while True:
    for parts in range(8, 2, -1):
      if lanes % parts == 0:
        return lanes * 128, parts * 128
    lanes += 1
