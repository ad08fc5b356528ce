"""Laws of lookup-free quantization."""

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.models import lfq


def test_channel_zero_is_the_most_significant_bit():
  z = jnp.array([[0.3, -2.0, -0.1], [-1.0, 0.5, 0.5], [0.0, 0.0, 0.0]])
  np.testing.assert_array_equal(lfq.pack(z), [4, 3, 0])


def test_unpack_is_the_inverse_of_pack():
  codes = jnp.arange(2**5).reshape(4, 8)
  bits = lfq.unpack(codes, 5)
  np.testing.assert_array_equal(lfq.pack(bits), codes)
  np.testing.assert_array_equal(bits[0, 5], [-1, -1, 1, -1, 1])


def test_quantize_rounds_with_the_gradient_of_the_identity():
  z = jnp.array([0.2, -3.0, 0.0])
  bits, pull = jax.vjp(lfq.quantize, z)
  np.testing.assert_allclose(bits, [1, -1, -1], atol=1e-6)
  np.testing.assert_array_equal(pull(jnp.array([5.0, 6.0, 7.0]))[0], [5, 6, 7])


def test_expected_bits_are_the_mean_of_the_soft_bits():
  z = jnp.linspace(-2, 2, 9)
  np.testing.assert_allclose(
    lfq.expected_bits(z), 2 * jax.nn.sigmoid(4 * z) - 1, atol=1e-6
  )


def test_entropy_loss_by_hand():
  # p = sigmoid(4 z) = 3/4 and 1/4; their mean 1/2 has entropy log 2.
  z = jnp.array([[np.log(3) / 4], [-np.log(3) / 4]])
  single = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
  np.testing.assert_allclose(lfq.entropy_loss(z), single - np.log(2), rtol=1e-5)


def test_entropy_loss_is_lowest_for_decided_and_balanced_bits():
  z = jnp.array([[30.0, -30.0], [-30.0, 30.0]])
  np.testing.assert_allclose(lfq.entropy_loss(z), -np.log(2), rtol=1e-5)


def test_entropy_loss_and_its_gradient_stay_finite_when_saturated():
  value, gradient = jax.value_and_grad(lfq.entropy_loss)(
    jnp.full([4, 2], 100.0)
  )
  # The mean is kept one float32 step away from 1.
  np.testing.assert_allclose(value, 0, atol=1e-5)
  assert jnp.all(jnp.isfinite(gradient))


def test_commitment_loss_by_hand():
  z = jnp.array([0.5, -3.0])
  value, gradient = jax.value_and_grad(lfq.commitment_loss)(z)
  np.testing.assert_allclose(value, (0.25 + 4.0) / 2, rtol=1e-6)
  np.testing.assert_allclose(gradient, [-0.5, -2.0], rtol=1e-6)
