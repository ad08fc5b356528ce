"""Settings of the image sampler, and its draw from a softmax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import softmax_sampling


def test_confidence_temperatures_by_hand():
  plain = maskgit.MaskGITSampler(4, 0.0, temperature=2.0)
  np.testing.assert_allclose(plain.temperatures(), [1.5, 1.0, 0.5, 0.0])
  official = maskgit.MaskGITSampler(4, 0.0, temperature=2.0, compounding=True)
  np.testing.assert_allclose(official.temperatures(), [1.5, 0.75, 0.1875, 0.0])


@pytest.mark.parametrize(
  'fault',
  [
    {'steps': 0},
    {'steps': -3},
    {'guidance': float('nan')},
    {'guidance': -0.5},
    {'guidance': float('inf')},
    {'temperature': float('nan')},
    {'temperature': -1.0},
    {'temperature': float('inf')},
    {'code_temperature': 0.0},
    {'code_temperature': float('nan')},
    {'code_temperature': float('inf')},
  ],
)
def test_an_impossible_sampler_is_refused(fault):
  settings = {'steps': 4, 'guidance': 1.0} | fault
  ((name, value),) = fault.items()
  with pytest.raises(ValueError, match=f'{name} must .* got {value}'):
    maskgit.MaskGITSampler(**settings)


def test_an_unknown_schedule_is_refused():
  with pytest.raises(ValueError, match='cosin'):
    maskgit.MaskGITSampler(steps=4, guidance=1.0, schedule='cosin')


def test_every_fault_of_a_sampler_is_named():
  with pytest.raises(ValueError, match='steps .*got 0; guidance .*got -1'):
    maskgit.MaskGITSampler(steps=0, guidance=-1.0)


def test_inverse_cdf_draws_the_softmax_and_nothing_impossible():
  logits = jnp.array([0.0, 1.0, -jnp.inf, 2.0, -1.0, -jnp.inf, 0.5])
  numbers = jax.random.uniform(jax.random.key(0), (20_000,))
  drawn = jax.vmap(lambda n: softmax_sampling.inverse_cdf(n, logits))(numbers)
  actual = np.bincount(np.asarray(drawn), minlength=7) / len(numbers)
  expected = np.asarray(jax.nn.softmax(logits))
  # Four standard errors of a share of 20,000 draws.
  assert np.abs(actual - expected).max() < 4 * 0.5 / np.sqrt(len(numbers))
  assert actual[2] == actual[5] == 0


@pytest.mark.parametrize(
  'part, expected',
  [
    ((0.0, 1.0), [True] * 4),
    ((0.0, 0.9), [True] * 4),
    ((0.5, 1.0), [False, False, True, True]),
    ((0.25, 0.75), [False, True, True, False]),
    ((0.7, 0.8), [False, False, False, True]),
  ],
)
def test_guided_steps_by_hand(part, expected):
  sampler = maskgit.MaskGITSampler(4, 1.0, guided=part)
  assert list(sampler.guided_steps()) == expected
  unguided = maskgit.MaskGITSampler(4, 0.0, guided=part)
  assert not any(unguided.guided_steps())


@pytest.mark.parametrize('part', [(0.5,), (0.5, 0.5), (1.0, 0.0), (0, 0.5, 1)])
def test_a_part_of_the_steps_has_two_ends(part):
  with pytest.raises(ValueError, match='guided must be two increasing numbers'):
    maskgit.MaskGITSampler(4, 1.0, guided=part)


@pytest.mark.parametrize('steps, part', [(4, (0.1, 0.2)), (3, (0.75, 1.0))])
def test_guidance_without_a_guided_step_is_refused(steps, part):
  with pytest.raises(ValueError, match='guided must contain a step, 0/'):
    maskgit.MaskGITSampler(steps, 1.0, guided=part)
  assert not any(maskgit.MaskGITSampler(steps, 0.0, guided=part).guided_steps())
