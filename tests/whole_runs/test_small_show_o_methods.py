"""GRPO, the answer term and search on the small Show-o, in one run.

The vocabulary, the BPE with leading spaces, 256 codes and bfloat16 are those of
Show-o.
"""

import json

import numpy as np
import pytest
import small_walk

pytestmark = pytest.mark.optimized

FLAGS = (
  '--workdir=runs/grpo',
  *small_walk.QUICK,
  '--config.play.rounds=1',
  '--config.play.image_scorer=soft',
  '--config.play.objective.method=grpo',
  '--config.play.objective.ratio=sum',
  '--config.play.images=3',
  '--config.play.first_images=2',
  # No soft score is 1, so all inputs are hard.
  '--config.play.easy_score=1.0',
  '--config.play.objective.group_images=2',
  '--config.play.objective.und_sft_weight=0.0',
  '--config.play.objective.gen_sft_weight=0.0',
  '--config.play.objective.answers.weight=0.5',
  '--config.play.search.candidates=2',
  '--config.play.search.score=likelihood',
)


@pytest.fixture(scope='module')
def grpo(converted):
  """The folder of a round with all three."""
  converted.job('pair_dpo', *FLAGS)
  return converted.folder / 'runs' / 'grpo'


def test_the_first_step_of_a_round_has_ratio_1_in_bfloat16(grpo):
  (step,) = small_walk.lines(grpo / 'round_1' / 'training' / 'metrics.jsonl')
  for kind in ('gen', 'und'):
    assert step[f'{kind}/groups'] == 1
    assert step[f'{kind}/ratio'] == 1
    assert step[f'{kind}/clipped'] == step[f'{kind}/kl'] == 0
  assert np.isfinite(step['train/grad_norm']) and step['train/skipped'] == 0


def test_the_answer_term_has_its_weight_in_the_loss(grpo):
  (step,) = small_walk.lines(grpo / 'round_1' / 'training' / 'metrics.jsonl')
  # Random weights give each of some 50,000 tokens about the same probability.
  assert step['answers/loss'] > np.log(50_000)
  np.testing.assert_allclose(
    step['train/loss'], step['groups/loss'] + 0.5 * step['answers/loss'], 1e-5
  )


def test_the_trained_weights_differ_in_all_parts(grpo, converted):
  base = small_walk.arrays(converted.base)
  trained = small_walk.arrays(grpo / 'checkpoints' / '1')
  assert trained.keys() == base.keys()
  for name, array in trained.items():
    assert np.isfinite(array).all() and (array != base[name]).any(), name


def test_hard_inputs_have_all_images(grpo):
  with np.load(grpo / 'round_1' / 'codes.npz') as arrays:
    assert (arrays['drawn'] == 3).all()
    first, second, third = np.moveaxis(arrays['candidates'], 1, 0)
    for other in (second, third):
      assert (first != other).any(1).all()


def test_results_have_groups_and_the_base_with_the_same_search(grpo):
  results = json.loads((grpo / 'results.json').read_text())
  base, trained = results['rounds']
  assert set(trained['learned']['groups']) == {'caption', 'image'}
  for row in (base, trained):
    # Two drawings of two steps with guidance, which takes two passes.
    assert row['decoder_passes'] == 2 * 2 * 2
    assert 0 <= row['generation'] <= 1
