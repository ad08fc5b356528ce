"""Self-play by GRPO learns from all candidates of a round."""

import dataclasses
import json

import numpy as np
import pytest
import self_play_runs

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.curation import candidate_files
from hermesflow_jax.curation import gathering
from hermesflow_jax.curation import shards
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.pair_dpo import answer_config
from hermesflow_jax.pair_dpo import candidate_groups
from hermesflow_jax.reports import round_tables
from hermesflow_jax.runtime import terminal


def with_groups(config, **changes):
  """Returns settings of a round of GRPO."""
  objective = dataclasses.replace(
    config.play.objective,
    **{
      'method': 'grpo',
      'und_sft_weight': 0.0,
      'gen_sft_weight': 0.0,
      'masks': 1,
    }
    | changes,
  )
  play = dataclasses.replace(config.play, objective=objective, rounds=1)
  return dataclasses.replace(config, play=play)


def test_a_round_learns_from_groups_and_from_answers(config, tmp_path):
  """Fewer questions than a step has parts: pads that count nothing fill up."""
  run, lines = tmp_path / 'run', []
  console = dataclasses.replace(terminal.silent(), say=lines.append)
  answers = answer_config.AnswerConfig(
    weight=1.0, form='grpo', questions=1, sft_weight=0.1
  )
  config = with_groups(config, answers=answers)
  results = pair_dpo.run(config, str(run), console)
  learned = results['rounds'][1]['learned']
  assert learned['steps'] == 2 and 0 < learned['inputs'] <= config.inputs
  assert sum(learned['groups']['image'].values()) == config.inputs
  assert any('image groups differ in reward' in line for line in lines)
  rows = self_play_runs.lines(run / 'round_1/training/metrics.jsonl')
  assert [row['step'] for row in rows] == [1, 2]
  assert {'gen/ratio', 'und/ratio', 'groups/loss'} <= rows[0].keys()
  assert 0 < rows[0]['answers/right_probability'] < 1
  assert (run / 'round_1' / 'pairs.jsonl').exists()
  assert '</html>' in (run / 'report.html').read_text()
  again = pair_dpo.run(config, str(run), terminal.silent())
  assert again == json.loads((run / 'results.json').read_text())
  # Candidates that are gone are read from their shards.
  (run / 'results.json').unlink()
  (run / 'round_1' / 'codes.npz').unlink()
  checkpoint.remove(run / 'checkpoints' / '1')
  again = pair_dpo.run(with_groups(config), str(run), terminal.silent())
  assert self_play_runs.timeless(again) == self_play_runs.timeless(results)


def test_a_round_without_differences_teaches_nothing(
  config, tmp_path, monkeypatch
):
  monkeypatch.setattr(
    candidate_groups, '_drop_reason', lambda rewards: 'by a test'
  )
  results = pair_dpo.run(
    with_groups(config), str(tmp_path / 'run'), terminal.silent()
  )
  learned = results['rounds'][1]['learned']
  assert (learned['inputs'], learned['steps']) == (0, 0)
  assert learned['groups']['caption'] == {'by a test': config.inputs}


def test_the_file_of_candidates_has_what_the_shards_have(config, whole):
  folder = whole / 'round_1'
  actual = candidate_files.read_candidates(folder)
  count = len(list((folder / 'candidates').glob('*.record.json')))
  _, expected = gathering.read_shards(
    shards.Shards(folder / 'candidates', count)
  )
  assert actual.captions == expected.captions
  for name in ('codes', 'image_scores', 'caption_scores'):
    assert (getattr(actual, name) == getattr(expected, name)).all()


def test_a_reference_of_its_own_needs_a_divergence(config):
  play = with_groups(config).play
  with pytest.raises(ValueError, match="reference must be 'round' with"):
    dataclasses.replace(play, reference='base')


def test_the_divergence_is_from_the_base_model_in_later_rounds(
  config, tmp_path
):
  run, config = tmp_path / 'run', with_groups(config, kl_weight=1.0)
  play = dataclasses.replace(config.play, rounds=2, reference='base')
  config = dataclasses.replace(config, play=play)
  results = pair_dpo.run(config, str(run), terminal.silent())
  first, later = (
    self_play_runs.lines(run / f'round_{n}/training/metrics.jsonl')[0]
    for n in (1, 2)
  )
  for kind in ('gen', 'und'):
    for step in (first, later):
      assert step[f'{kind}/ratio'] == pytest.approx(1.0, rel=1e-4)
    assert first[f'{kind}/kl'] < 1e-6 < 1e-4 < later[f'{kind}/kl']
  # A round that is learned again has the same reference.
  model = self_play_runs.model_of(config, run, 2)
  (run / 'results.json').unlink()
  checkpoint.remove(run / 'checkpoints' / '2')
  again = pair_dpo.run(config, str(run), terminal.silent())
  assert self_play_runs.timeless(again) == self_play_runs.timeless(results)
  for name, array in self_play_runs.model_of(config, run, 2).items():
    np.testing.assert_array_equal(array, model[name])


def test_easy_inputs_cost_few_images_and_teach_nothing(config, tmp_path):
  """Two first images, and four of inputs whose first are not both right."""
  config = with_groups(config, und_weight=0.0)
  play = dataclasses.replace(
    config.play, images=4, first_images=2, easy_score=0.25
  )
  config = dataclasses.replace(config, play=play)
  results = pair_dpo.run(config, str(tmp_path), terminal.silent())
  folder, groups = tmp_path / 'round_1', results['rounds'][1]['learned']
  candidates = candidate_files.read_candidates(folder)
  scores = candidates.image_scores
  easy = scores[:, :2].min(1) >= 0.25
  assert 0 < easy.sum() < config.inputs
  np.testing.assert_array_equal(candidates.drawn, np.where(easy, 2, 4))
  np.testing.assert_array_equal(scores[easy, :2], scores[easy, 2:])
  curation = json.loads((folder / 'curation.json').read_text())
  assert curation['drawn'] == candidates.drawn.sum()
  assert groups['groups']['image']['easy'] == easy.sum()
  assert groups['rewards']['image'] == pytest.approx(scores[:, :2].mean())
  teaching = ~easy & (scores.max(1) > scores.min(1))
  assert groups['inputs'] == teaching.sum()
  table = round_tables.drop_table(results['rounds'][1:])
  images = [row for row in table.rows if row[1] == 'images']
  assert images[0][-1] == f'{candidates.drawn.sum()}'
