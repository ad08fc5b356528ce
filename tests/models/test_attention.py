"""Attention: parts and masks, and that all backends say the same."""

import copy
import functools

from flax import nnx
import jax
from jax._src.cudnn import fused_attention_stablehlo
import jax.numpy as jnp
import numpy as np
import packed_pairs
import pytest
import random_rows
import tiny

from hermesflow_jax.models import attention
from hermesflow_jax.models import attention_kernels
from hermesflow_jax.models import flop_count
from hermesflow_jax.pair_dpo import pair_log_likelihood
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_to_image


def attended(sees):
  """`attention.attend` over three parts, whose keys each query sees as said."""
  rng = np.random.default_rng(1)
  q = jnp.asarray(rng.normal(size=(5, 7, 2, 4)), jnp.float32)
  parts = [
    tuple(jnp.asarray(rng.normal(size=(2, 5, size, 2, 4)), jnp.float32))
    for size in (3, 6, 7)
  ]
  return attention.attend(q, parts, sees)


def test_attention_over_intervals_is_attention_under_their_masks():
  ar, valid = random_rows.random_rows(5, 7)
  sees = [
    None,
    attention_mask.Interval(start=jnp.array([[0], [1], [2], [3], [5]])),
    attention_mask.key_intervals(ar, valid),
  ]
  dense = [
    np.ones((5, 7, 3), bool),
    np.broadcast_to(sees[1].keys(6), (5, 7, 6)),
    attention_mask.mask_matrix(ar, valid),
  ]
  np.testing.assert_allclose(
    attended(sees), attended(np.concatenate(dense, axis=-1)), atol=1e-6
  )


def test_attention_is_a_softmax_over_all_parts_together():
  rng = np.random.default_rng(2)
  q, k, v = rng.normal(size=(3, 6, 2, 4)).astype(np.float32)
  mask = np.tril(np.ones((6, 6), bool))
  whole = jax.nn.dot_product_attention(q, k, v, mask=mask)
  parts = [(k[:2], v[:2]), (k[2:], v[2:])]
  np.testing.assert_allclose(attention.attend(q, parts, mask), whole, atol=1e-6)


def test_a_query_that_sees_nothing_gets_the_mean():
  rng = np.random.default_rng(3)
  q, k, v = rng.normal(size=(3, 6, 2, 4)).astype(np.float32)
  nothing = attention_mask.Interval(end=jnp.zeros(6, jnp.int32))
  wanted = np.broadcast_to(v.mean(0), v.shape)
  for sees in ([nothing], np.zeros((6, 6), bool)):
    np.testing.assert_allclose(
      attention.attend(q, [(k, v)], sees), wanted, atol=1e-6
    )


def test_every_part_wants_to_be_told_of():
  q = jnp.zeros((3, 1, 2))
  with pytest.raises(ValueError):
    attention.attend(q, [(q, q), (q, q)], [None])


# The kernels as they run without their hardware: splash attention interpreted,
# cuDNN's call with XLA behind it.
KERNELS = {
  'splash': functools.partial(attention_kernels.splash, interpret=True),
  'cudnn': functools.partial(attention_kernels.cudnn, implementation='xla'),
}


@pytest.fixture(params=list(KERNELS))
def backend(request, monkeypatch):
  monkeypatch.setattr(attention_kernels, request.param, KERNELS[request.param])
  return request.param


def image_rows(rows=(2, 3), size=70, before=9, heads=2, width=64):
  """q, parts and sees of images that see the text before them, but for pads."""
  rng = np.random.default_rng(4)

  def draw(*shape):
    return jnp.asarray(rng.normal(size=(*shape, heads, width)), jnp.float32)

  q, own = draw(*rows, size), (draw(*rows, size), draw(*rows, size))
  text = draw(rows[0], 1, before), draw(rows[0], 1, before)
  start = jnp.asarray(rng.integers(0, before, (rows[0], 1, 1)))
  return q, [text, own], [attention_mask.Interval(start=start), None]


@pytest.mark.parametrize('size', [70, 128, 300])
def test_kernels_say_what_xla_says(backend, size):
  q, parts, sees = image_rows(size=size)

  def value(q, parts, backend):
    starts = [None if s is None else s.start[..., 0] for s in sees]
    if backend == 'xla':
      out = attention.attend(q, parts, sees)
    else:
      out = getattr(attention_kernels, backend)(q, parts, starts)
    return (out * jnp.cos(jnp.arange(out.size).reshape(out.shape))).sum(), out

  found, wanted = (
    jax.grad(value, (0, 1), has_aux=True)(q, parts, each)
    for each in (backend, 'xla')
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, wanted
  )


def test_kernels_may_be_mapped_over(backend):
  q, parts, sees = image_rows()
  wanted = attention.attend(q, parts, sees)
  (text, own), (seen, _) = parts, sees

  def one(q, text, own, start):
    return attention.attend(
      q, [text, own], [attention_mask.Interval(start=start), None], backend
    )

  every = jax.vmap(jax.vmap(one, (0, None, 0, None)))
  first = jax.tree.map(lambda a: a[:, 0], text)
  np.testing.assert_allclose(
    every(q, first, own, seen.start[:, 0]), wanted, atol=1e-5
  )


@pytest.mark.parametrize('data, model', [(8, 1), (4, 2), (1, 8)])
def test_splash_attention_is_the_same_on_any_mesh(data, model, monkeypatch):
  monkeypatch.setattr(attention_kernels, 'splash', KERNELS['splash'])
  q, parts, sees = image_rows(rows=(8, 1), heads=8, width=8)
  wanted = attention.attend(q, parts, sees)
  mesh = sharding.make_mesh(data, model)
  spec = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec('data'))

  @jax.jit
  def found(q, parts, sees):
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
      return jax.vmap(lambda *a: attention.attend(*a, 'splash'))(q, parts, sees)

  placed = jax.device_put((q, parts, sees), spec)
  out = found(*placed)
  np.testing.assert_allclose(out, wanted, atol=1e-5)
  # Each device has computed its rows, and its heads of them.
  shape = out.sharding.shard_shape(out.shape)
  assert (shape[0], shape[-2]) == (8 // data, 8 // model)
  assert 'all-gather' not in found.lower(*placed).compile().as_text()


@pytest.mark.parametrize(
  'seen',
  [
    attention_mask.Interval(start=jnp.zeros((3, 7), jnp.int32)),
    attention_mask.Interval(
      start=jnp.zeros((3, 1), jnp.int32), end=jnp.ones((3, 1), jnp.int32)
    ),
    np.ones((3, 7, 4), bool),
  ],
)
def test_queries_of_text_are_left_to_xla(seen):
  q = jnp.zeros((3, 7, 2, 8))
  assert not attention.image_attention(q, [seen, None])
  assert not attention.image_attention(q[:, :1], [None])
  assert not attention.image_attention(
    q, [attention_mask.Interval(start=jnp.zeros((3, 1), jnp.int32))]
  )
  assert attention.image_attention(q, [None])
  start = attention_mask.Interval(start=jnp.zeros((3, 1), jnp.int32))
  assert attention.image_attention(q, [start, None])
  assert not attention.image_attention(q, [start, start, None])


def with_backend(model, name):
  """The same parameters, computed by another backend, in float32."""
  config = copy.copy(model.decoder.config)
  # Of these only XLA behind cuDNN's call can do float32.
  object.__setattr__(config, 'attention', name)
  other = nnx.clone(model)
  other.decoder.config = other.decoder.layers.config = config
  return other


def test_packed_rows_score_the_same(backend, monkeypatch):
  """Of all segments, with pads and two masks; value and gradient."""
  model = tiny.show_o(jax.random.key(3))
  _, packed = packed_pairs.batches()
  rng = np.random.default_rng(0)
  shape = len(packed_pairs.RECORDS), 2, tiny.IMAGE_TOKENS
  hidden = rng.random(shape) < 0.6

  def value(model):
    logps, _ = pair_log_likelihood.pair_logps(model, packed, hidden, 7)
    return (logps.t2i * jnp.array([1.0, -0.5])).sum() + logps.mmu[:, 0].sum()

  wanted = jax.value_and_grad(value)(model)
  used = []
  kernel = getattr(attention_kernels, backend)
  monkeypatch.setattr(
    attention_kernels, backend, lambda *a: used.append(a) or kernel(*a)
  )
  found = jax.value_and_grad(value)(with_backend(model, backend))
  # The codes' blocks, and the real image.
  assert len(used) >= 2
  np.testing.assert_allclose(found[0], wanted[0], rtol=1e-5)
  for a, b in zip(jax.tree.leaves(found[1]), jax.tree.leaves(wanted[1])):
    np.testing.assert_allclose(a, b, atol=2e-4)


def test_images_are_drawn_the_same(backend):
  model = tiny.show_o(jax.random.key(3))
  captions = tiny.text().encode(['two blue square', 'star'])
  rows = text_to_image.t2i_prefix(tiny.vocab(), [*captions, []], 6)
  config = maskgit.MaskGITSampler(steps=4, guidance=1.5)
  counts = mask_schedules.schedule_counts(
    4, tiny.IMAGE_TOKENS, mask_schedules.parse_schedule('cosine')
  )
  empty = jax.tree.map(lambda a: a[2], rows)
  keys = jax.random.split(jax.random.key(1), (2, 3))

  def draw(model):
    def one(key, row):
      return maskgit.sample_image(
        model,
        key,
        [row, empty],
        jnp.zeros(tiny.IMAGE_TOKENS, jnp.int32),
        jnp.zeros(tiny.IMAGE_TOKENS, bool),
        config,
        counts,
      )[0]

    texts = jax.tree.map(lambda a: a[:2], rows)
    return jax.jit(jax.vmap(jax.vmap(one, (0, None))))(keys, texts)

  np.testing.assert_array_equal(draw(with_backend(model, backend)), draw(model))


@pytest.fixture
def a_gpu(monkeypatch):
  """cuDNN's calls can be traced as if there were a GPU; not run."""
  for name in (
    'check_cudnn_version',
    'check_compute_capability',
    'is_cuda_compute_capability_equal',
  ):
    answer = 91500 if name == 'check_cudnn_version' else name[:5] == 'check'
    monkeypatch.setattr(
      fused_attention_stablehlo, name, lambda *a, v=answer, **k: v
    )


def test_cudnn_is_called_as_it_wants_to_be(a_gpu):
  """Mapped over, and with a gradient; and its arithmetic is counted."""
  q, parts, sees = jax.tree.map(
    lambda a: a.astype(jnp.bfloat16) if a.dtype == jnp.float32 else a,
    image_rows(),
  )
  (text, own), (seen, _) = parts, sees

  def one(q, text, own, start):
    return attention.attend(
      q, [text, own], [attention_mask.Interval(start=start), None], 'cudnn'
    )

  every = jax.vmap(jax.vmap(one, (0, None, 0, None)))
  first = jax.tree.map(lambda a: a[:, 0], text)
  out = jax.eval_shape(every, q, first, own, seen.start[:, 0])
  assert (out.shape, out.dtype) == (q.shape, q.dtype)

  def value(q):
    out = attention_kernels.cudnn(q, parts, [seen.start[..., 0], None])
    return out.astype(jnp.float32).sum()

  assert jax.eval_shape(jax.grad(value), q).shape == q.shape
  # 70 queries and 79 keys are made 72 and 80.
  product = 2 * 6 * 2 * 72 * 80 * 64
  assert flop_count.count_flops(value, q).flops == 2 * product
  # The pass back may compute the one before again.
  assert flop_count.count_flops(jax.grad(value), q).flops == (2 + 5) * product


@pytest.mark.parametrize(
  'name, platform, wanted',
  [
    ('auto', 'cpu', 'xla'),
    ('auto', 'gpu', 'xla'),
    ('auto', 'tpu', 'splash'),
    ('cudnn', 'gpu', 'cudnn'),
    ('xla', 'tpu', 'xla'),
  ],
)
def test_auto_takes_what_the_platform_has(name, platform, wanted):
  assert attention.choose_backend(name, platform) == wanted


@pytest.mark.parametrize(
  'size, wanted',
  [
    (1, (128, 128)),
    (1024, (1024, 1024)),
    (1026, (1152, 384)),
    (1155, (1280, 640)),
    (1300, (1536, 768)),
  ],
)
def test_blocks_fill_what_is_padded(size, wanted):
  assert attention_kernels._blocks(size) == wanted
