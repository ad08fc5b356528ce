"""More images for inputs without a pair: who gets them, and which remain."""

import numpy as np
import pytest

from hermesflow_jax.curation import candidate_generation
from hermesflow_jax.curation import pair_selection
from hermesflow_jax.data import input_set
from hermesflow_jax.pair_dpo import candidate_groups
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.sampling import maskgit

# Shares of right answers about images 0, 1, 2 ... of each input.
SCORES = {
  'at once': [1.0, 0.5, 0.0, 0.0, 0.0, 0.0],
  'second wave': [1.0, 1.0, 1.0, 0.5, 0.0, 0.0],
  'across waves': [1.0, 1.0, 0.5, 0.5, 0.0, 0.0],
  'weak at first': [0.5, 0.0, 1.0, 0.0, 0.0, 0.0],
  'last wave': [1.0, 1.0, 1.0, 1.0, 1.0, 0.5],
  'never': [1.0] * 6,
}
DRAWN = {
  'at once': 2,
  'second wave': 4,
  'across waves': 4,
  'weak at first': 4,
  'last wave': 6,
  'never': 6,
}
KEPT = {
  'at once': [0, 1],
  'second wave': [0, 3],
  'across waves': [0, 2],
  'weak at first': [1, 2],
  'last wave': [0, 5],
  'never': [0, 1],
}


class Model:
  """Draws images whose codes are their numbers."""

  def describe(self, ids, codes, samplers, seed):
    return [[f'{name} {sampler}' for sampler in samplers] for name in ids]

  def draw(self, ids, captions, images, sampler, seed, first=0):
    numbers = np.arange(first, first + images)
    return np.tile(numbers[:, None], (len(ids), 1, 4)).astype(np.int32)


def scorer(unified, inputs, codes):
  scores = [
    [SCORES[name][image[0]] for image in images]
    for name, images in zip(inputs.ids, codes, strict=True)
  ]
  answers = [
    [f'{name} {image[0]}']
    for name, images in zip(inputs.ids, codes, strict=True)
    for image in images
  ]
  return np.array(scores), answers


def candidates(
  images, most_images, rules=None, easy_score=None, first_images=0
):
  rules = rules or pair_selection.PairRules()
  names = list(SCORES)
  inputs = input_set.Inputs(
    ids=names,
    captions=names,
    tags=[''] * len(names),
    questions=[[]] * len(names),
    codes=np.zeros((len(names), 4), int),
  )
  config = candidate_generation.CandidateConfig(
    maskgit.MaskGITSampler(1, 0.0),
    images,
    [1, 2],
    lambda captions, true: np.arange(len(captions), dtype=float),
    0,
    scorer,
    most_images,
    rules.make_image_pairs,
    easy_score,
    first_images,
  )
  made = candidate_generation.make_candidates(Model(), inputs, config)
  return made, pair_selection.select_pairs(made, names, rules, {})


def test_inputs_get_images_until_they_have_a_pair():
  made, pairs = candidates(2, 6)
  assert dict(zip(SCORES, made.drawn, strict=True)) == DRAWN
  assert dict(zip(SCORES, made.codes[..., 0].tolist(), strict=True)) == KEPT
  for n, (name, kept) in enumerate(KEPT.items()):
    assert made.image_scores[n].tolist() == [SCORES[name][k] for k in kept]
    assert made.answers[n] == [[f'{name} {k}'] for k in kept]
    assert bool(pairs[name][1].dropped) == (name == 'never')


def test_the_best_and_the_worst_of_all_that_are_drawn_make_the_pair():
  made, pairs = candidates(2, 6)
  for n, name in enumerate(SCORES):
    drawn = np.array(SCORES[name][: made.drawn[n]])
    pair = pairs[name][1]
    assert (pair.win.score, pair.lose.score) == (drawn.max(), drawn.min())


def test_a_last_wave_may_be_smaller_and_a_group_keeps_its_size():
  made, _ = candidates(4, 6)
  assert made.codes.shape == (len(SCORES), 4, 4)
  assert dict(zip(SCORES, made.drawn, strict=True)) == {
    name: 6 if name in ('last wave', 'never') else 4 for name in SCORES
  }
  kept = dict(zip(SCORES, made.codes[..., 0].tolist(), strict=True))
  assert kept['last wave'] == [0, 1, 2, 5]
  assert kept['never'] == [0, 1, 2, 3]


def test_easy_inputs_get_no_more_images():
  made, _ = candidates(2, 6, easy_score=1.0)
  assert dict(zip(SCORES, made.drawn, strict=True)) == {
    name: 4 if name == 'weak at first' else 2 for name in SCORES
  }
  same, _ = candidates(2, 6, easy_score=1.1)
  assert dict(zip(SCORES, same.drawn, strict=True)) == DRAWN


def test_only_hard_inputs_get_all_images():
  made, pairs = candidates(6, 0, easy_score=1.0, first_images=2)
  hard = ('at once', 'weak at first')
  assert dict(zip(SCORES, made.drawn, strict=True)) == {
    name: 6 if name in hard else 2 for name in SCORES
  }
  whole, _ = candidates(6, 0)
  for n, name in enumerate(SCORES):
    kept = range(6) if name in hard else [0, 1, 0, 1, 0, 1]
    np.testing.assert_array_equal(made.codes[n], whole.codes[n][list(kept)])
    assert made.image_scores[n].tolist() == [SCORES[name][k] for k in kept]
    assert made.answers[n] == [[f'{name} {k}'] for k in kept]
    assert bool(pairs[name][1].dropped) == (name not in hard)


def test_easy_inputs_teach_no_group_and_the_mean_is_that_of_first_images():
  made, _ = candidates(6, 0, easy_score=0.5, first_images=2)
  names = list(SCORES)
  groups = candidate_groups.join_groups(
    names,
    names,
    np.zeros((len(names), 4), int),
    made,
    objective_config.ObjectiveConfig(
      method='grpo', masks=1, und_weight=0.0, group_images=2
    ),
  )
  dropped = {group['id']: group['image_dropped'] for group in groups}
  assert dropped == {
    name: '' if name == 'weak at first' else 'easy' for name in names
  }
  for group in groups:
    assert group['image_mean'] == np.mean(SCORES[group['id']][:2])
  (used,) = candidate_groups.trainable(groups)
  assert sorted(used['image_rewards']) == [0.0, 1.0]


def test_without_the_setting_no_input_gets_more():
  made, _ = candidates(2, 0)
  assert made.drawn is None
  assert (made.codes[..., 0] == [0, 1]).all()
  same, _ = candidates(2, 2)
  assert same.drawn is None


@pytest.mark.parametrize(
  'rules',
  [
    {},
    {'least_win': 0.0},
    {'least_win': 0.6, 'least_margin': 0.5},
    {'least_score': -1.0},
  ],
)
def test_images_make_a_pair_where_the_rules_keep_one(rules):
  rules = pair_selection.PairRules(**rules)
  scores = np.random.default_rng(0).integers(0, 5, (200, 3)) / 4
  codes = np.arange(3)[:, None]
  for n, makes_pair in enumerate(rules.make_image_pairs(scores)):
    pair = pair_selection.choose_pair(codes, scores[n], None)
    kept = pair_selection.filter_pair(
      pair, rules.least_image_score, rules.least_margin
    )
    assert makes_pair == (not kept.dropped)
