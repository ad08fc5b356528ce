"""Laws of the tokenizer's training loss."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config
from hermesflow_jax.training import tokenizer_loss

CONFIG = magvit_config.MagvitConfig(
  ch=8,
  encoder_ch_mult=(1, 1),
  decoder_ch_mult=(1, 1),
  encoder_num_res_blocks=(1, 1),
  decoder_num_res_blocks=(1, 1),
  z_channels=4,
  patch=4,
  mid_attention=False,
  num_groups=4,
)
WEIGHTS = tokenizer_loss.LossWeights(
  entropy=0.01, commitment=0.02, foreground=3.0
)


@pytest.fixture(scope='module')
def model():
  """A small random tokenizer."""
  return jax.jit(lambda key: magvit.Magvit(CONFIG, nnx.Rngs(key)))(
    jax.random.key(0)
  )


@pytest.fixture(scope='module')
def pixels():
  """Grey images with one white square at one of four places."""
  images = np.full([4, 16, 16, 3], -0.5, np.float32)
  for i in range(4):
    row, column = divmod(i, 2)
    images[i, 8 * row + 2 : 8 * row + 6, 8 * column + 2 : 8 * column + 6] = 1
  return jnp.asarray(images)


@jax.jit
def evaluate(model, pixels, key, quantize_mix):
  """The loss and its metrics."""
  return tokenizer_loss.loss(model, pixels, key, quantize_mix, weights=WEIGHTS)


def test_foreground_pixels_weigh_their_factor_more_with_mean_one(pixels):
  weights = tokenizer_loss.pixel_weights(pixels, 3.0)
  # The sum of a thousand float32 weights is rounded.
  np.testing.assert_allclose(weights.mean(), 1, rtol=1e-4)
  np.testing.assert_allclose(weights[0, 3, 3] / weights[0, 0, 0], 3, rtol=1e-5)
  np.testing.assert_array_equal(weights > 1, pixels[..., 0] > 0)


def test_total_is_the_weighted_sum_of_the_parts(model, pixels):
  total, metrics = evaluate(model, pixels, jax.random.key(1), 1.0)
  np.testing.assert_allclose(
    total,
    metrics['loss/reconstruction']
    + 0.01 * metrics['loss/entropy']
    + 0.02 * metrics['loss/commitment'],
    rtol=1e-6,
  )


def test_a_full_mix_scores_what_the_codes_decode_to(model, pixels):
  _, metrics = evaluate(model, pixels, jax.random.key(1), 1.0)
  decoded = jax.jit(lambda m, x: m.decode(m.codes(m.encode(x))))(model, pixels)
  weights = tokenizer_loss.pixel_weights(pixels, 3.0)[..., None]
  np.testing.assert_allclose(
    metrics['loss/reconstruction'],
    jnp.mean(weights * jnp.square(decoded - pixels)),
    rtol=1e-4,
  )


def test_the_mix_depends_on_the_key_only_between_its_ends(model, pixels):
  def totals(mix):
    return [
      float(evaluate(model, pixels, jax.random.key(i), mix)[0])
      for i in range(4)
    ]

  assert len(set(totals(0.0))) == len(set(totals(1.0))) == 1
  assert len(set(totals(0.5))) > 1


def test_training_lowers_the_reconstruction_error(model, pixels):
  optimizer = optax.adam(1e-2)

  @jax.jit
  def train(model, key):
    def step(carry, key):
      model, state = carry
      (_, metrics), gradients = jax.value_and_grad(
        tokenizer_loss.loss, has_aux=True
      )(model, pixels, key, 1.0, weights=WEIGHTS)
      updates, state = optimizer.update(gradients, state, model)
      return (optax.apply_updates(model, updates), state), metrics

    _, metrics = jax.lax.scan(
      step, (model, optimizer.init(model)), jax.random.split(key, 100)
    )
    return metrics['loss/reconstruction']

  errors = train(model, jax.random.key(2))
  assert errors[-1] < 0.3 * errors[0]
