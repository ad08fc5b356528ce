"""Settings of the ablation, and the variants of its config."""

import dataclasses

import ablation_arms
import pytest

import configs.ablation
import configs.ablation_arms
from hermesflow_jax.experiments import ablation_settings
from hermesflow_jax.runtime import settings
from hermesflow_jax.sampling import search_settings

LATE = search_settings.Stage(99, 0.5)


@pytest.mark.parametrize(
  'changes, fault',
  [
    (
      {'arms': (ablation_arms.arm('a', nothing=1),)},
      'arm a: .*nothing is not a setting',
    ),
    (
      {'arms': (ablation_arms.arm('a', rounds=3),)},
      'rounds of arm a must be at most 2, .* got 3',
    ),
    (
      {'arms': (ablation_arms.arm('a', images=4),)},
      'images must be at most 3, .* got 4',
    ),
    (
      {'arms': (ablation_arms.arm('a', seed=7),)},
      'changes.seed must be the same for all arms',
    ),
    (
      {'arms': (ablation_arms.arm('a', most_images=6),)},
      'changes.most_images must be the same for all arms',
    ),
    (
      {'arms': (ablation_arms.arm('a', curation_sampler={'steps': 3}),)},
      'changes.curation_sampler must be the same for all arms',
    ),
    (
      {'arms': (ablation_arms.arm('a'), ablation_arms.arm('a'))},
      'names of arms must differ, got a, a',
    ),
    (
      {'arms': (ablation_arms.arm('a'),)},
      'must name arms, got images, pair_dpo',
    ),
    ({'against': 'x'}, 'must name arms, got x'),
    (
      {
        'sweeps': (
          ablation_settings.Sweep(
            'a', (ablation_settings.Point('x', 'images', 2),)
          ),
        )
      },
      'sweep a: the round of arm images must be 1 to 1, got 2',
    ),
    (
      {'image_search': search_settings.Search(2, stages=(LATE,))},
      'image_search.stages.0..steps must be less than the .* steps of the',
    ),
    (
      {
        'image_search': search_settings.Search(2),
        'arms': (ablation_arms.arm('base'), ablation_arms.arm('images')),
        'against': 'base',
        'sweeps': (),
      },
      "names of arms must not be 'base' with image_search",
    ),
    ({'seeds': (1, 1)}, 'seeds must be different numbers'),
    ({'seeds': ()}, 'seeds must be different numbers'),
    ({'seeds': (-1,)}, 'seeds must be .* from 0'),
    ({'search_scenes': 1}, 'search_scenes must be at least 2, got 1'),
  ],
)
def test_a_comparison_that_makes_no_sense_is_refused(
  comparison, changes, fault
):
  with pytest.raises(ValueError, match=fault):
    dataclasses.replace(comparison, **changes)


@pytest.mark.parametrize('variant', configs.ablation.VARIANTS)
def test_each_variant_builds(variant):
  values = configs.ablation.get_config(variant).to_dict()
  assert values.pop('job') == 'ablation'
  built = settings.build(ablation_settings.Settings, values)
  assert built.seeds == (0, 1, 2)
  rounds = max(a.play(built.self_play.play, 0).rounds for a in built.arms)
  assert (
    rounds
    == built.self_play.play.rounds
    == {
      'table5': 3,
      'settings': 3,
      'rounds': 3,
      'reference': 2,
      'recipe': 3,
      'beyond': 4,
    }.get(variant, 1)
  )
  for sweep in built.sweeps:
    assert len(sweep.points) > 1


def test_no_two_thresholds_make_the_same_pairs():
  """A score is a share of right answers to two to five questions."""
  scores = {k / n for n in range(2, 6) for k in range(n + 1)}
  arms = configs.ablation.get_config('settings').to_dict()['arms']
  rules = {'least_win': 0.6, 'least_margin': 0.0}
  seen = set()
  for name, value in [
    (k, v)
    for arm in arms
    for k, v in arm['changes'].get('rules', {}).items()
    if k in rules
  ] + list(rules.items()):
    kept = (
      scores
      if name == 'least_win'
      else {a - b for a in scores for b in scores if a > b}
    )
    kept = frozenset(score for score in kept if score > value)
    assert (name, kept) not in seen, (name, value)
    seen.add((name, kept))
  assert len(seen) == 4 + 3


def test_one_setting_alone_is_its_part_of_all():
  together = configs.ablation.get_config('settings').to_dict()
  names = {arm['name'] for arm in together['arms']}
  played, titles = set(), []
  for variant in configs.ablation_arms.SWEEPS:
    alone = configs.ablation.get_config(variant).to_dict()
    titles += [sweep['title'] for sweep in alone['sweeps']]
    assert list(alone['sweeps']) == [
      s for s in together['sweeps'] if s['title'] == titles[-1]
    ]
    for arm in alone['arms']:
      played.add(arm['name'])
      (same,) = (a for a in together['arms'] if a['name'] == arm['name'])
      # Rounds that no row of its table shows are not played.
      for changed in arm, same:
        changed['changes'].pop('rounds', None)
      assert arm == same
  assert played == names
  assert titles == [sweep['title'] for sweep in together['sweeps']]


def test_a_variant_that_is_not_there_is_refused():
  with pytest.raises(
    ValueError, match='must be one of table5, methods, settings, recipe'
  ):
    configs.ablation.get_config('x')
