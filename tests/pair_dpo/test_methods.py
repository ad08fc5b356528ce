"""Every method by value and gradient, on cases computed by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hermesflow_jax.pair_dpo import methods
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import pair_loss
from hermesflow_jax.pair_dpo import pair_margins

BETA, NOISE = 0.5, 0.1
# Margins in nats: of captions 2, of images -4, of tokens counted below.
POLICY = pair_margins.PairValues(
  t2i=jnp.array([[-9.0, -6.0]]), mmu=jnp.array([[-3.0, -8.0]])
)
REFERENCE = pair_margins.PairValues(
  t2i=jnp.array([[-7.0, -8.0]]), mmu=jnp.array([[-4.0, -7.0]])
)
COUNTS = pair_margins.PairValues(
  t2i=jnp.array([[4, 4]]), mmu=jnp.array([[5, 2]])
)
UND, GEN = 2.0, -4.0


def scores(policy=POLICY, **shares):
  return methods.PairScores(policy, REFERENCE, COUNTS, **shares)


def sigmoid(x):
  return 1 / (1 + math.exp(-x))


def dpo(x):
  return math.log1p(math.exp(-x))


def anyway(slope, value, loss):
  """(losses of captions and images, slope of each along its margin)."""
  return {
    'und': (loss(value(UND)), slope(value(UND))),
    'gen': (loss(value(GEN)), slope(value(GEN))),
  }


def scaled(margin):
  return BETA * margin


def plain(margin):
  return margin


# What each loses, and how that moves with the margin.
CASES = {
  'pair_dpo': anyway(lambda x: -BETA * sigmoid(-x), scaled, dpo),
  'ipo': anyway(lambda d: 2 * (d - 1.0), plain, lambda d: (d - 1.0) ** 2),
  'hinge': {'und': (0.0, 0.0), 'gen': (3.0, -BETA)},
  'smoothed': anyway(
    lambda x: BETA * (-0.9 * sigmoid(-x) + 0.1 * sigmoid(x)),
    scaled,
    lambda x: 0.9 * dpo(x) + 0.1 * dpo(-x),
  ),
  'robust': anyway(
    lambda x: BETA * (-0.9 * sigmoid(-x) - 0.1 * sigmoid(x)) / 0.8,
    scaled,
    lambda x: (0.9 * dpo(x) - 0.1 * dpo(-x)) / 0.8,
  ),
}


@pytest.mark.parametrize('name', CASES)
def test_losses_and_their_gradients_are_those_computed_by_hand(name):
  def losses(policy):
    return methods.METHODS[name](
      scores(policy), methods.LossParams(BETA, NOISE)
    )

  actual, slopes = (
    losses(POLICY),
    {
      kind: jax.grad(lambda p, kind=kind: losses(p)[kind])(POLICY)
      for kind in ('und', 'gen')
    },
  )
  if name == 'hinge':
    # At a margin of 2 nats the hinge is at its edge.
    del slopes['und']
  assert actual.keys() == {'und', 'gen'}
  for kind, (value, slope) in CASES[name].items():
    np.testing.assert_allclose(actual[kind], value, rtol=1e-5, atol=1e-7)
    if kind in slopes:
      along, across = (
        (slopes[kind].mmu, slopes[kind].t2i)
        if kind == 'und'
        else (slopes[kind].t2i, slopes[kind].mmu)
      )
      np.testing.assert_allclose(along, [[slope, -slope]], rtol=1e-5)
      np.testing.assert_array_equal(across, [[0.0, 0.0]])


def test_the_hinge_is_flat_beyond_its_edge():
  """A margin of captions of 3 nats, where the edge is at 2."""

  def und(mmu):
    policy = pair_margins.PairValues(t2i=POLICY.t2i, mmu=mmu)
    return methods.hinge(scores(policy), methods.LossParams(BETA))['und']

  mmu = jnp.array([[-2.0, -8.0]])
  assert und(mmu) == 0
  np.testing.assert_array_equal(jax.grad(und)(mmu), [[0.0, 0.0]])


def slopes(method, kind):
  """The gradient of a method's losses of a kind at POLICY."""
  return jax.grad(lambda p: method(scores(p), methods.LossParams(BETA))[kind])(
    POLICY
  )


def test_the_methods_of_one_kind_leave_out_the_other():
  strength = methods.LossParams(BETA)
  both = methods.pair_dpo(scores(), strength)
  assert methods.dpo_understanding(scores(), strength) == {'und': both['und']}
  assert methods.dpo_generation(scores(), strength) == {'gen': both['gen']}
  und = slopes(methods.dpo_understanding, 'und')
  slope = BETA * sigmoid(-BETA * UND)
  np.testing.assert_allclose(und.mmu, [[-slope, slope]], rtol=1e-5)
  np.testing.assert_array_equal(und.t2i, [[0.0, 0.0]])
  gen = slopes(methods.dpo_generation, 'gen')
  slope = BETA * sigmoid(-BETA * GEN)
  np.testing.assert_allclose(gen.t2i, [[-slope, slope]], rtol=1e-5)
  np.testing.assert_array_equal(gen.mmu, [[0.0, 0.0]])


def test_sft_is_the_winners_likelihood_per_token():
  actual = methods.sft(scores(), methods.LossParams(BETA))
  assert actual == {'und': 3.0 / 5, 'gen': 9.0 / 4}
  und, gen = (slopes(methods.sft, kind) for kind in ('und', 'gen'))
  np.testing.assert_allclose(und.mmu, [[-1 / 5, 0.0]])
  np.testing.assert_allclose(gen.t2i, [[-1 / 4, 0.0]])


def test_per_token_margins_are_of_means():
  actual = methods.per_token(scores(), methods.LossParams(BETA))
  # (-3 + 4) / 5 - (-8 + 7) / 2, and (-9 + 7) / 4 - (-6 + 8) / 4.
  np.testing.assert_allclose(actual['und'], dpo(BETA * 0.7), rtol=1e-6)
  np.testing.assert_allclose(actual['gen'], dpo(BETA * -1.0), rtol=1e-6)
  # Of each token of the longer side less.
  und, gen = (slopes(methods.per_token, kind) for kind in ('und', 'gen'))
  slope = BETA * sigmoid(-BETA * 0.7)
  np.testing.assert_allclose(und.mmu, [[-slope / 5, slope / 2]], rtol=1e-5)
  slope = BETA * sigmoid(BETA * 1.0)
  np.testing.assert_allclose(gen.t2i, [[-slope / 4, slope / 4]], rtol=1e-5)


def test_the_product_couples_both_kinds():
  strength = methods.LossParams(BETA)
  actual = methods.product(scores(), strength)
  assert actual.keys() == {'both'}
  x = BETA * UND * BETA * GEN
  np.testing.assert_allclose(actual['both'], dpo(x), rtol=1e-6)
  slope = jax.grad(lambda p: methods.product(scores(p), strength)['both'])(
    POLICY
  )
  up = -BETA * BETA * sigmoid(-x)
  np.testing.assert_allclose(slope.mmu, [[up * GEN, -up * GEN]], rtol=1e-5)
  np.testing.assert_allclose(slope.t2i, [[up * UND, -up * UND]], rtol=1e-5)
  still = jax.grad(lambda p: methods.product(scores(p), strength)['both'])(
    REFERENCE
  )
  # It never starts: at the reference there is no gradient.
  assert not any(np.any(leaf) for leaf in jax.tree.leaves(still))


def test_no_smoothing_is_plain_dpo():
  strength = methods.LossParams(BETA)
  expected = methods.pair_dpo(scores(), strength)
  for method in (methods.smoothed, methods.robust):
    for kind, value in method(scores(), strength).items():
      np.testing.assert_allclose(value, expected[kind], rtol=1e-6)


def test_the_default_objective_is_the_sum_of_pair_dpo():
  actual = methods.pair_dpo(scores(), methods.LossParams(BETA))
  total, _ = pair_loss.preference_loss(
    scores(), objective_config.ObjectiveConfig(beta=BETA)
  )
  np.testing.assert_allclose(actual['und'] + actual['gen'], total, rtol=1e-6)


@pytest.mark.parametrize('name', methods.METHODS)
def test_records_without_a_pair_count_for_nothing(name):
  """And shares add up: the whole batch is the sum of its parts."""

  def twice(a):
    return jnp.concatenate([a, 3 * a, jnp.full_like(a, 7)])

  def some(rows, **shares):
    return methods.PairScores(
      *(
        jax.tree.map(lambda a: twice(a)[rows], logps)
        for logps in (POLICY, REFERENCE, COUNTS)
      ),
      **shares,
    )

  share = {
    f'{kind}_share': jnp.array([0.5, 0.5, 0.0])
    for kind in ('und', 'gen', 'both')
  }
  strength = methods.LossParams(BETA, NOISE)
  whole = methods.METHODS[name](some(slice(0, 2)), strength)
  parts = [
    methods.METHODS[name](
      some(rows, **{n: weights[rows] for n, weights in share.items()}), strength
    )
    for rows in (slice(0, 1), slice(1, 3))
  ]
  for kind, value in whole.items():
    np.testing.assert_allclose(
      sum(part[kind] for part in parts), value, rtol=1e-6
    )


@pytest.mark.parametrize('name', methods.METHODS)
def test_every_method_measures_the_margins_of_both_kinds(name):
  """Also of the kind that it does not learn from."""
  objective = objective_config.ObjectiveConfig(
    method=name, smoothing=NOISE if name in ('smoothed', 'robust') else 0.0
  )
  rows = {f'{kind}_share': jnp.ones(1) for kind in ('und', 'gen', 'both')}
  _, metrics = pair_loss.preference_loss(scores(**rows), objective)
  assert {'und/accuracy', 'pairs/loss'} <= metrics.keys()
  assert metrics['und/margin'] > 0 > metrics['gen/margin']


def test_every_function_of_the_module_is_a_method():
  """One that is written and not listed cannot be chosen."""
  public = {
    name
    for name, member in vars(methods).items()
    if callable(member)
    and not name.startswith('_')
    and getattr(member, '__module__', '') == methods.__name__
  } - {'PairScores', 'LossParams'}
  assert public == set(methods.METHODS)
