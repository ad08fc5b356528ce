"""cuDNN and splash attention compute the same as XLA."""

import copy
import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import packed_pairs
import pretended_gpu
import pytest
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


attend = jax.jit(attention.attend)


def image_rows(rows=(2, 3), size=70, before=9, heads=2, width=64):
  """q, parts and masks of images that see the text before them, but for pads."""
  rng = np.random.default_rng(4)

  def draw(*shape):
    return rng.normal(size=(*shape, heads, width)).astype(np.float32)

  q, own = draw(*rows, size), (draw(*rows, size), draw(*rows, size))
  text = draw(rows[0], 1, before), draw(rows[0], 1, before)
  start = rng.integers(0, before, (rows[0], 1, 1), np.int32)
  return q, [text, own], [attention_mask.Interval(start=start), None]


# A whole block, and blocks that are padded.
@pytest.mark.parametrize('size', [128, 300])
def test_kernels_say_what_xla_says(backend, size):
  q, parts, masks = image_rows(size=size)

  actual, expected = (
    output_and_gradient(item, q, parts, masks) for item in (backend, 'xla')
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), actual, expected
  )


@functools.partial(jax.jit, static_argnums=0)
def output_and_gradient(backend, q, parts, masks):
  """Of the kernel as KERNELS has it, or of XLA."""

  def value(q, parts):
    starts = [None if s is None else s.start[..., 0] for s in masks]
    if backend == 'xla':
      out = attention.attend(q, parts, masks)
    else:
      out = KERNELS[backend](q, parts, starts)
    return (out * jnp.cos(jnp.arange(out.size).reshape(out.shape))).sum(), out

  return jax.grad(value, (0, 1), has_aux=True)(q, parts)


def test_kernels_may_be_mapped_over(backend):
  q, parts, masks = image_rows()
  expected = attend(q, parts, masks)
  (text, own), (seen, _) = parts, masks

  def one(q, text, own, start):
    return attention.attend(
      q, [text, own], [attention_mask.Interval(start=start), None], backend
    )

  every = jax.jit(jax.vmap(jax.vmap(one, (0, None, 0, None))))
  first = jax.tree.map(lambda a: a[:, 0], text)
  np.testing.assert_allclose(
    every(q, first, own, seen.start[:, 0]), expected, atol=1e-5
  )


@pytest.mark.parametrize('data, model', [(8, 1), (4, 2), (1, 8)])
def test_splash_attention_is_the_same_on_any_mesh(data, model, monkeypatch):
  monkeypatch.setattr(attention_kernels, 'splash', KERNELS['splash'])
  q, parts, masks = image_rows(rows=(8, 1), heads=8, width=8)
  expected = attend(q, parts, masks)
  mesh = sharding.make_mesh(data, model)
  spec = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec('data'))

  @jax.jit
  def actual(q, parts, masks):
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
      return jax.vmap(lambda *a: attention.attend(*a, 'splash'))(
        q, parts, masks
      )

  placed = jax.device_put((q, parts, masks), spec)
  compiled = actual.lower(*placed).compile()
  out = compiled(*placed)
  np.testing.assert_allclose(out, expected, atol=1e-5)
  # Each device has computed its rows, and its heads of them.
  shape = out.sharding.shard_shape(out.shape)
  assert (shape[0], shape[-2]) == (8 // data, 8 // model)
  assert 'all-gather' not in compiled.as_text()


def with_backend(model, name):
  """The same parameters, computed by another backend, in float32."""
  config = copy.copy(model.decoder.config)
  # Of these only XLA behind cuDNN's call can do float32.
  object.__setattr__(config, 'attention', name)
  other = nnx.clone(model)
  other.decoder.config = other.decoder.layers.config = config
  return other


@jax.jit
@jax.value_and_grad
def score_and_gradient(model):
  """A weighted sum of the scores of packed rows, and its gradient."""
  _, packed = packed_pairs.batches()
  rng = np.random.default_rng(0)
  shape = len(packed_pairs.RECORDS), 2, tiny.IMAGE_TOKENS
  hidden = rng.random(shape) < 0.6
  logps, _ = pair_log_likelihood.pair_logps(model, packed, hidden, 7)
  return (logps.t2i * jnp.array([1.0, -0.5])).sum() + logps.mmu[:, 0].sum()


def test_packed_rows_score_the_same(backend, monkeypatch):
  """Of all segments, with pads and two masks; value and gradient."""
  model = tiny.show_o(jax.random.key(3))
  expected = score_and_gradient(model)
  used = []
  kernel = getattr(attention_kernels, backend)
  monkeypatch.setattr(
    attention_kernels, backend, lambda *a: used.append(a) or kernel(*a)
  )
  actual = score_and_gradient(with_backend(model, backend))
  # The codes' blocks, and the real image.
  assert len(used) >= 2
  np.testing.assert_allclose(actual[0], expected[0], rtol=1e-5)
  for a, b in zip(jax.tree.leaves(actual[1]), jax.tree.leaves(expected[1])):
    np.testing.assert_allclose(a, b, atol=2e-4)


@jax.jit
def drawn(model):
  """Three images for each of two captions."""
  captions = tiny.text().encode(['two blue square', 'star'])
  rows = text_to_image.t2i_prefix(tiny.vocab(), [*captions, []], 6)
  config = maskgit.MaskGITSampler(steps=4, guidance=1.5)
  counts = mask_schedules.schedule_counts(
    4, tiny.IMAGE_TOKENS, mask_schedules.parse_schedule('cosine')
  )
  empty = jax.tree.map(lambda a: a[2], rows)
  keys = jax.random.split(jax.random.key(1), (2, 3))

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
  return jax.vmap(jax.vmap(one, (0, None)))(keys, texts)


def test_images_are_drawn_the_same(backend):
  model = tiny.show_o(jax.random.key(3))
  np.testing.assert_array_equal(
    drawn(with_backend(model, backend)), drawn(model)
  )


@pytest.fixture
def a_gpu(monkeypatch):
  """cuDNN's calls can be traced as if there were a GPU; not run."""
  pretended_gpu.patch(monkeypatch)


def test_cudnn_is_called_as_it_wants_to_be(a_gpu):
  """Mapped over, and with a gradient; and its arithmetic is counted."""
  q, parts, masks = jax.tree.map(
    lambda a: a.astype(jnp.bfloat16) if a.dtype == jnp.float32 else a,
    image_rows(),
  )
  (text, own), (seen, _) = parts, masks

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
  'size, expected',
  [
    (1, (128, 128)),
    (1024, (1024, 1024)),
    (1026, (1152, 384)),
    (1155, (1280, 640)),
    (1300, (1536, 768)),
  ],
)
def test_blocks_fill_what_is_padded(size, expected):
  assert attention_kernels._blocks(size) == expected
