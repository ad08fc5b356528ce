"""Groups keep the candidates whose rewards vary most."""

import dataclasses
import itertools

import numpy as np
import pytest
import tiny_groups

from hermesflow_jax.pair_dpo import candidate_groups


@pytest.mark.parametrize('seed', range(20))
@pytest.mark.parametrize('spread', [None, 1e-5, 1e3])
def test_no_other_choice_of_candidates_varies_more(seed, spread):
  rng = np.random.default_rng(seed)
  # Shares of right answers tie often, likelihoods differ by little.
  rewards = rng.integers(0, 5, 7).astype(np.float32) / 4
  if spread:
    rewards = spread * rng.normal(size=7)
  for size in range(2, 7):
    chosen = candidate_groups.widest(rewards, size)
    assert len({*chosen.tolist()}) == size and (np.diff(chosen) > 0).all()
    most = max(map(np.var, itertools.combinations(rewards, size)))
    np.testing.assert_allclose(np.var(rewards[chosen]), most, rtol=1e-5)


def test_chosen_images_stand_beside_their_rewards():
  objective = dataclasses.replace(tiny_groups.OBJECTIVE, group_images=2)
  candidates = tiny_groups.candidates(images=5)
  # No two are equal.
  rewards = np.random.default_rng(0).random((8, 5))
  groups = tiny_groups.records(
    objective=objective, codes=candidates.codes, image_scores=rewards
  )
  for n, group in enumerate(groups):
    scores = rewards[n].astype(np.float32)
    best_and_worst = sorted((scores.argmax(), scores.argmin()))
    assert group['image_rewards'].tolist() == scores[best_and_worst].tolist()
    np.testing.assert_array_equal(
      group['images'], candidates.codes[n, best_and_worst]
    )
    assert group['image_mean'] == pytest.approx(scores.mean())
  means = candidate_groups.summarize(groups)['rewards']
  assert means['image'] == pytest.approx(rewards.mean())


def test_images_in_shards_are_chosen_as_those_in_an_array():
  objective = dataclasses.replace(tiny_groups.OBJECTIVE, group_images=2)

  class Rows(list):
    shape = tiny_groups.candidates().codes.shape

  codes = Rows(tiny_groups.candidates().codes)
  for group, expected in zip(
    tiny_groups.records(objective=objective, codes=codes),
    tiny_groups.records(objective=objective),
    strict=True,
  ):
    np.testing.assert_equal(group, expected)


def test_no_inputs_make_no_groups():
  objective = dataclasses.replace(tiny_groups.OBJECTIVE, group_images=2)
  assert not tiny_groups.records(0, objective)


@pytest.mark.parametrize('size', [0, 4, 9])
def test_all_images_are_kept_where_no_more_are_there(size):
  objective = dataclasses.replace(tiny_groups.OBJECTIVE, group_images=size)
  groups = tiny_groups.records(objective=objective)
  for group, expected in zip(groups, tiny_groups.records(), strict=True):
    np.testing.assert_equal(group, expected)
