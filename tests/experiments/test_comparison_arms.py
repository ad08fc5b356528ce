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
from hermesflow_jax.experiments import arm_runs
from hermesflow_jax.experiments import comparison_arms
from hermesflow_jax.runtime import terminal
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
