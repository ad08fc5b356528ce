"""Arms: settings, shared candidates, and rounds that are reused."""

import dataclasses
import json
import shutil

import ablation_arms
import numpy as np
import pytest

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.curation import pair_files
from hermesflow_jax.evaluation import judge_agreement
from hermesflow_jax.experiments import ablation
from hermesflow_jax.experiments import ablation_settings
from hermesflow_jax.experiments import arm_runs
from hermesflow_jax.experiments import comparison_arms
from hermesflow_jax.reports import round_tables
from hermesflow_jax.runtime import terminal
from hermesflow_jax.scoring import image_scorers
from hermesflow_jax.self_play import curation_phase
from hermesflow_jax.self_play import round_state
from hermesflow_jax.self_play import rounds


def test_an_arm_is_the_self_play_that_it_says(
  comparison, base_and_world, finished_comparison, tmp_path
):
  root, _ = finished_comparison
  play = comparison.arms[1].play(comparison.self_play.play, 4)
  rounds.play_rounds(*base_and_world, play, str(tmp_path), terminal.silent())
  for name in (
    'round_0/scenes.jsonl',
    'round_1/pairs.jsonl',
    'round_1/scenes.jsonl',
  ):
    alone = (tmp_path / name).read_bytes()
    assert (root / 'seed_4' / 'pair_dpo' / name).read_bytes() == alone


def test_arms_share_candidates_and_the_first_of_fewer(
  comparison, base_and_world, finished_comparison
):
  root, _ = finished_comparison
  base, world = base_and_world
  play = dataclasses.replace(comparison.self_play.play, seed=3)
  pool = arm_runs.CandidatePool(
    base, world, play, root / 'seed_3' / 'base', terminal.silent()
  )
  three, two = pool.candidates(3, 'self'), pool.candidates(2, 'self')
  np.testing.assert_array_equal(three.codes[:, :2], two.codes)
  np.testing.assert_array_equal(three.image_scores[:, :2], two.image_scores)
  assert [answers[:2] for answers in three.answers] == two.answers
  # A pool of two images a caption would have the same.
  alone = base.draw(
    world.inputs[0].ids,
    world.inputs[0].captions,
    2,
    play.curation_sampler,
    play.seed + 1,
  )
  np.testing.assert_array_equal(two.codes, alone)
  judged = pool.candidates(3, 'judge')
  np.testing.assert_array_equal(judged.codes, three.codes)
  np.testing.assert_array_equal(
    judged.image_scores,
    judge_agreement.agreement_scores(
      world.judge, three.codes, world.inputs[0].questions
    ),
  )
  pairs = pair_files.read_pairs(root / 'seed_3' / 'images' / 'round_1')
  for n, name in enumerate(world.inputs[0].ids):
    best = two.codes[n, np.argmax(two.image_scores[n])]
    np.testing.assert_array_equal(pairs[name][1].win.value, best)


def test_what_a_judge_chose_is_told_by_the_models_own_scores(
  comparison, base_and_world, finished_comparison, tmp_path
):
  root, _ = finished_comparison
  scored = root / 'seed_3' / 'base' / 'round_0'
  play = dataclasses.replace(comparison.self_play.play, seed=3)
  pool = arm_runs.CandidatePool(
    *base_and_world, play, root / 'seed_3' / 'base', terminal.silent()
  )
  arm = ablation_arms.arm('judge', scorer='judge')
  pool.prepare_arm(
    arm, arm.play(comparison.self_play.play, 3), tmp_path, scored
  )
  curation = json.loads((tmp_path / 'round_1' / 'curation.json').read_text())
  own, judged = (
    pool.candidates(3, who).image_scores.mean() for who in ('self', 'judge')
  )
  assert curation['self_score'] == pytest.approx(own)
  assert curation['judge_score'] == pytest.approx(judged)
  assert own != judged


def test_an_arm_with_another_scorer_scores_the_shared_candidates_again(
  comparison, base_and_world, finished_comparison, tmp_path
):
  root, _ = finished_comparison
  base, world = base_and_world
  play = dataclasses.replace(comparison.self_play.play, seed=3)
  pool = arm_runs.CandidatePool(
    base, world, play, root / 'seed_3' / 'base', terminal.silent()
  )

  def by_codes(unified, inputs, codes):
    return codes.sum(-1).astype(float), [['a']] * codes[..., 0].size

  scored = dataclasses.replace(world, image_scorer=by_codes)
  candidates = pool.candidates(2, 'self', scored)
  own = pool.candidates(2, 'self', world)
  np.testing.assert_array_equal(candidates.codes, own.codes)
  np.testing.assert_array_equal(
    candidates.image_scores, candidates.codes.sum(-1)
  )
  assert candidates.answers == [[['a']] * 2] * len(world.inputs[0])
  assert own.answers != candidates.answers
  # An arm of this name has its own pairs, though other rules are those of all.
  arm = ablation_arms.arm('codes', images=2)
  pool.prepare_arm(
    arm,
    arm.play(comparison.self_play.play, 3),
    tmp_path,
    root / 'seed_3' / 'base' / 'round_0',
    scored,
  )
  pairs = pair_files.read_pairs(tmp_path / 'round_1')
  for n, name in enumerate(world.inputs[0].ids):
    assert pairs[name][1].win.score == candidates.codes[n].sum(-1).max()
  curation = json.loads((tmp_path / 'round_1' / 'curation.json').read_text())
  assert curation['self_score'] == pytest.approx(candidates.image_scores.mean())


def test_a_round_counts_the_images_that_it_draws_for_inputs_without_a_pair(
  comparison, base_and_world, tmp_path
):
  base, world = base_and_world
  play = dataclasses.replace(
    comparison.self_play.play, images=3, most_images=6, shard=3
  )
  this_round = round_state.Round(
    1, base, base.model, False, world, play, tmp_path, terminal.silent()
  )
  candidates = curation_phase.gather_candidates(this_round, base)
  assert candidates.codes.shape[1] == 3 and set(candidates.drawn) == {3, 6}
  _, curation = curation_phase.make_pairs(this_round, candidates, {}, 0.0)
  assert curation['drawn'] == candidates.drawn.sum()
  table = round_tables.drop_table([{'round': 1, 'curation': curation}])
  assert table.header[-1] == 'Images drawn'
  assert [row[-1] for row in table.rows] == ['–', str(curation['drawn'])]
  del curation['drawn']
  table = round_tables.drop_table([{'round': 1, 'curation': curation}])
  assert 'Images drawn' not in table.header


def test_arms_with_equal_scorers_share_one(comparison, base_and_world):
  base, world = base_and_world
  arms = [
    ablation_arms.arm('same', rules={'least_win': 0.1}),
    ablation_arms.arm('soft', image_scorer='soft'),
    ablation_arms.arm(
      'other', image_scorer='soft', rules={'least_margin': 0.1}
    ),
    ablation_arms.arm('by_codes', image_scorer='image_likelihood'),
    comparison.arms[1],
  ]
  config = dataclasses.replace(comparison, arms=tuple(arms), sweeps=())
  plays = ablation.arms_with_own_scorers(config)
  assert list(plays) == ['soft', 'other', 'by_codes']
  scorers = ablation.make_image_scorers(
    plays, base.mesh, None, terminal.silent()
  )
  assert scorers['soft'] is scorers['other'] is image_scorers.score_softly
  assert scorers['by_codes'] is image_scorers.score_by_codes
  setup = ablation_settings.SharedSetup(base, world, world, None, None, scorers)
  assert setup.with_scorer(world, 'same') is world
  assert setup.with_scorer(world, 'soft').image_scorer is scorers['soft']


def test_what_the_search_learned_is_not_learned_again(finished_comparison):
  root, results = finished_comparison
  rate = results['search']['images']['chosen']
  tried = root / 'search' / 'images' / f'{rate:g}' / 'checkpoints' / '1'
  arms = root / 'seed_3' / 'images' / 'checkpoints' / '1'
  assert checkpoint.array_hashes(str(arms)) == checkpoint.array_hashes(
    str(tried)
  )
  assert checkpoint.read_metadata(str(arms)) == checkpoint.read_metadata(
    str(tried)
  )
  # Metrics stay in the folder of the search.
  assert not (root / 'seed_3' / 'images' / 'round_1' / 'training').exists()
  assert (root / 'seed_4' / 'images' / 'round_1' / 'training').exists()


# Orbax leaves unfinished reads behind when one of them fails.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_what_the_search_left_damaged_is_not_taken(
  base_and_world, finished_comparison, tmp_path
):
  root, results = finished_comparison
  rate = results['search']['images']['chosen']
  tried = tmp_path / 'tried'
  shutil.copytree(root / 'search' / 'images' / f'{rate:g}', tried)
  for data in (tried / 'checkpoints' / '1').rglob('d/*'):
    data.write_bytes(b'')
  arm_runs.reuse_first_round(tried, tmp_path / 'arm', base_and_world[0])
  assert not checkpoint.exists(tmp_path / 'arm' / 'checkpoints' / '1')


def test_the_best_rate_counts_both_abilities():
  def scores(understanding, generation):
    return {'understanding': understanding, 'generation': generation}

  assert (
    comparison_arms.best_rate({1.0: scores(0.9, 0.5), 2.0: scores(0.7, 0.8)})
    == 2.0
  )


@pytest.mark.parametrize(
  'bad', [{'scorer': 'nobody'}, {'rates': (0.0,)}, {'name': 'a/b'}]
)
def test_an_arm_that_makes_no_sense_is_refused(bad):
  with pytest.raises(ValueError, match=next(iter(bad))):
    dataclasses.replace(ablation_arms.arm('a'), **bad)
