"""Gradients in bfloat16 are those of float32, on rows of Show-o's sizes.

Width and depth are small; the vocabulary, the codes of an image and the pairs
of a batch are not, because errors of sums grow with their number of terms.
"""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hermesflow_jax.models import lora
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.pair_dpo import pair_log_likelihood
from hermesflow_jax.pair_dpo import pair_loss
from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import vocabulary
from hermesflow_jax.training import chunked_log_likelihood

pytestmark = pytest.mark.optimized

VOCAB = vocabulary.Vocab(50295, 8192, 50256)
FIT = packing.PackedLengths(caption=24, reply=16)
# The head scores one in so many words, and few codes: it would take most of the
# time.
SCORED_WORDS = 8

# Of each leaf, ||bfloat16 - float32|| / ||float32||. On its way back a term of
# a gradient is rounded some ten times, by 0.2% or less, and a sum of many terms
# is as exact as they are, if it is not rounded itself. Measured: embedding and
# mask token 0.5%, head 0.6%, kernels of layers up to 0.8%, biases and norms up
# to 0.6%. Those of queries and keys reach 1.2%: what all keys of a softmax
# share has nearly no gradient, so terms cancel and their errors do not. With
# sums in bfloat16 the embedding was off by 66%, biases by 3 to 6%.
TOLERANCE = 0.02
# Few tokens, so fewer errors cancel; a and b are rounded, too.
OF_ADAPTERS = 0.03


def model_of(dtype, codes, layers):
  decoder = phi.PhiConfig(width=32, layers=layers, heads=1, mlp=64, dtype=dtype)
  config = showo.ShowOConfig(VOCAB, decoder, codes)
  return showo.ShowO(config, rngs=nnx.Rngs(0))


@functools.cache
def models(codes, layers=2):
  """The same parameters, computed in float32 and in bfloat16."""
  model = jax.jit(functools.partial(model_of, 'float32', codes, layers))()
  half = nnx.eval_shape(functools.partial(model_of, 'bfloat16', codes, layers))
  return model, nnx.merge(nnx.split(half)[0], nnx.split(model)[1])


def batch_of(pairs, codes):
  rng = np.random.default_rng(0)

  def text(size):
    return rng.integers(0, VOCAB.text_size, size).tolist()

  rows = [
    {
      'packed': packing.pack_record(
        VOCAB,
        text(20),
        rng.integers(0, 8192, (2, codes)),
        rng.integers(0, 8192, codes),
        text(16),
        [text(12), text(15)],
        128,
        FIT,
      ),
      'gen_valid': np.array(True),
      'und_valid': np.array(True),
      # The same for both, so that their margins are the same, too.
      'reference_t2i': np.zeros(2, np.float32),
      'reference_mmu': np.zeros(2, np.float32),
    }
    for _ in range(pairs)
  ]
  return pair_loss.prepare_batch(
    batching.stack(rows),
    jax.random.key(1),
    masks=1,
    schedule=mask_schedules.cosine,
    image_tokens=codes,
  )


def loss(model, batch):
  objective = objective_config.ObjectiveConfig(beta=0.2)
  return pair_loss.loss(
    model, None, batch, objective=objective, reply=FIT.reply
  )[0]


def errors(actual, expected):
  """{path: relative error} of pytrees."""
  expected = jax.tree.leaves(expected)
  return {
    sharding.path_name(path): error(leaf, expected[n])
    for n, (path, leaf) in enumerate(
      jax.tree_util.tree_leaves_with_path(actual)
    )
  }


def error(actual, expected):
  actual, expected = np.float64(actual), np.float64(expected)
  return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def bounds(relative, tolerance):
  """{path: bound}, wide where the platform's own products are not exact.

  XLA's CPU of jax 0.11 and newer adds some products of bfloat16 matrices up in
  bfloat16: those with a transposition folded into them (2% off in a sum over
  20,000 rows). That of jax 0.10, TPUs and GPUs add up in float32. The
  embedding's gradient is no product, and exact everywhere.
  """
  newer = jax.__version_info__ >= (0, 11) and jax.default_backend() == 'cpu'
  wide = 10.0 if newer else 1.0
  return {
    path: tolerance * (1.0 if path == 'embed/embedding' else wide)
    for path in relative
  }


def score_few(monkeypatch, codes, every):
  """Lets the head score one in `every` codes of images of `codes` codes."""
  whole = chunked_log_likelihood.chunked_logps

  def few(model, states, labels, rows):
    drawn = 2 * (codes + 2)
    kept = np.r_[:drawn:every, drawn : labels.shape[1] : SCORED_WORDS]
    logps = whole(model, states[:, kept], labels[:, kept], rows)
    return jnp.zeros(labels.shape).at[:, kept].set(logps)

  monkeypatch.setattr(chunked_log_likelihood, 'chunked_logps', few)


def test_bfloat16_gradients_of_pair_dpo_are_those_of_float32(monkeypatch):
  """Of 48 pairs of 256 codes; some 16,000 tokens are the mask token."""
  pairs, codes = 48, 256
  score_few(monkeypatch, codes, every=128)
  batch = batch_of(pairs, codes)
  assert batch['masked'].sum() * 2 > 15_000
  gradient = jax.jit(jax.grad(loss))
  # Layers take most of the time; those of adapters, below, are two.
  expected, actual = (
    gradient(model, batch) for model in models(codes, layers=1)
  )
  # What is added up over parts of a batch is added up in float32.
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(actual))
  relative = errors(actual, expected)
  bound = bounds(relative, TOLERANCE)
  assert all(relative[path] <= bound[path] for path in relative), relative
  table, expected = (g.embed.embedding[...] for g in (actual, expected))
  assert error(table[VOCAB.mask], expected[VOCAB.mask]) <= TOLERANCE


def test_bfloat16_gradients_of_adapters_are_those_of_float32(monkeypatch):
  codes = 64
  score_few(monkeypatch, codes, every=8)
  config = lora.Lora(4, 8.0, lora.TARGETS)

  def of_adapters(adapters, model, batch):
    return loss(lora.with_adapters(model, adapters, config), batch)

  gradient = jax.jit(jax.grad(of_adapters))
  model, half = models(codes)
  # Of random matrices b, where the first ones are zero.
  leaves, tree = jax.tree.flatten(
    lora.init_adapters(model, config, jax.random.key(1))
  )
  keys = jax.random.split(jax.random.key(2), len(leaves))
  adapters = jax.tree.unflatten(
    tree,
    [
      0.2 * jax.random.normal(key, leaf.shape)
      for key, leaf in zip(keys, leaves)
    ],
  )
  batch = batch_of(4, codes)
  expected, actual = (gradient(adapters, m, batch) for m in (model, half))
  relative = errors(actual, expected)
  bound = bounds(relative, OF_ADAPTERS)
  assert all(relative[path] <= bound[path] for path in relative), relative


@pytest.mark.parametrize('rows', [16, 4096])
def test_the_backward_pass_multiplies_in_bfloat16(rows):
  """A product of float32 takes several times as long on accelerators."""
  _, half = models(64)
  batch = batch_of(2, 64)

  def score(model):
    logps, _ = pair_log_likelihood.pair_logps(
      model, batch['packed'], batch['masked'], rows
    )
    return logps.t2i.sum() + logps.mmu.sum()

  with_weights = [
    [v.aval.dtype for v in equation.invars]
    for equation in products(jax.make_jaxpr(jax.grad(score))(half).jaxpr)
    # Attention has no product with weights; it keeps float32 scores.
    if not equation.params['dimension_numbers'][1][0]
  ]
  assert len(with_weights) > 3 * 6
  assert all(dtype == jnp.bfloat16 for pair in with_weights for dtype in pair)


def products(jaxpr):
  """Yields every dot_general of a function, those of inner functions, too."""
  for equation in jaxpr.eqns:
    if equation.primitive.name == 'dot_general':
      yield equation
    inner = jax.tree.leaves(
      list(equation.params.values()),
      is_leaf=lambda value: hasattr(value, 'eqns'),
    )
    for value in inner:
      if hasattr(value, 'eqns'):
        yield from products(getattr(value, 'jaxpr', value))
