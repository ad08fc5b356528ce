"""Training on pairs that were made before."""

import dataclasses
import json

import jax
import learn_runs
import numpy as np
import pytest
import unread_models

from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.jobs import learn
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.pair_dpo import learning
from hermesflow_jax.pair_dpo import learning_config
from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import terminal


def test_the_dataset_teaches_what_its_lines_teach(
  base, pairs, learned, tmp_path
):
  folder, result = learned
  lines = (pairs / 'pairs.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  rows = [r for r in rows if not (r['caption_dropped'] and r['image_dropped'])]
  assert 0 < result['inputs'] == len(rows) and result['steps'] == 3
  for row in rows:
    for name in ('codes', 'codes_win', 'codes_lose'):
      row[name] = np.array(row[name], np.int32)
  config = learn_runs.configured(base, pairs)
  parts, mesh = model_bundle.load_bundle(base), config.mesh.make()
  player = job_model.place_on_mesh(config, parts, mesh, terminal.silent())
  expected = learning.learn_round(
    player, player.model, rows, config, 3, tmp_path, 1, terminal.silent()
  )
  actual = trained_model.load_parts(str(folder / 'model'))
  jax.tree.map(np.testing.assert_array_equal, actual.model, expected)
  assert not np.array_equal(
    actual.model.head.kernel[...], parts.model.head.kernel[...]
  )
  assert actual.grid == parts.grid and actual.lengths == parts.lengths


def test_what_it_leaves_is_a_base_for_other_jobs(learned, pairs, tmp_path):
  folder, _ = learned
  result = learn.run(
    learn_runs.configured(folder / 'model', pairs),
    str(tmp_path / 'run'),
    terminal.silent(),
  )
  assert result['steps'] == 3


def test_another_seed_rate_and_length_want_no_new_program(
  base, pairs, tmp_path, caplog
):
  """As rounds and arms of a comparison do."""
  first = learn_runs.configured(base, pairs)
  changed = learn_runs.configured(base, pairs, seed=7)
  optim = dataclasses.replace(changed.optim, lr=3e-3, steps=4, warmup=0.5)

  def compiled(config):
    caplog.clear()
    learn.run(config, str(tmp_path / str(config.seed)), terminal.silent())
    return [
      line
      for line in caplog.messages
      if 'Finished XLA compilation of jit(step)' in line
    ]

  with jax.log_compiles():
    # None where a test before compiled it.
    assert len(compiled(first)) <= 1
    assert compiled(dataclasses.replace(changed, optim=optim)) == []


def test_a_finished_run_is_not_run_again(base, pairs, learned, monkeypatch):
  folder, result = learned
  unread_models.refuse_reading(monkeypatch)
  assert (
    learn.run(
      learn_runs.configured(base, pairs), str(folder), terminal.silent()
    )
    == result
  )
  with pytest.raises(ValueError, match='other settings: config.batch'):
    learn.run(
      learn_runs.configured(base, pairs, batch=16),
      str(folder),
      terminal.silent(),
    )


def test_its_metrics_say_how_fast_it_was(learned):
  lines = (learned[0] / 'training' / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert [row['step'] for row in rows] == [1, 2, 3]
  for row in rows:
    assert row['speed/pairs_per_second'] * row['speed/seconds_per_step'] == (
      pytest.approx(8)
    )
    tokens = row['speed/tokens_per_second'] / row['speed/pairs_per_second']
    # Two images of 16 codes in four masks each, and one more, beside texts;
    # less where an input has one pair alone.
    assert 19 < tokens < 2 * 4 * 18 + 19 + 100
    assert row['speed/flops_per_second'] > 0


def test_checkpoints_of_an_earlier_release_are_of_the_same_round(base, pairs):
  """Commit 423190d kept `label_rows`, and dropped names one by one."""
  config = learn_runs.configured(base, pairs)
  output = dataclasses.asdict(config)
  del output['optim']['accumulate']
  kept = {
    field.name for field in dataclasses.fields(learning_config.LearningConfig)
  }
  kept -= {'log_every', 'save_every', 'sample_every', 'profile_steps'}
  rows = [{'id': 'a'}]
  new = learning._identity(config, 3, rows)
  old = {'steps': 3, 'records': new['records']} | {
    name: json.loads(json.dumps(output[name])) for name in kept
  }
  assert 'label_rows' in old and 'label_rows' not in new
  assert identities.identity_of(learning_config.LearningConfig, old) == new
  changed = dataclasses.replace(config, label_rows=7, log_every=3)
  assert learning._identity(changed, 3, rows) == new
  assert (
    learning._identity(dataclasses.replace(config, batch=4), 3, rows) != new
  )


# A method of images alone, and one that counts tokens: the others run the same
# code but for their loss, which `test_methods` has.
@pytest.mark.parametrize('name', ['dpo_generation', 'per_token'])
def test_every_method_learns_from_the_same_pairs(base, pairs, tmp_path, name):
  config = learn_runs.configured(base, pairs, save_every=0)
  objective = dataclasses.replace(
    config.objective, method=name, und_sft_weight=0.0, gen_sft_weight=0.0
  )
  learn.run(
    dataclasses.replace(config, objective=objective),
    str(tmp_path / 'run'),
    terminal.silent(),
  )
  path = tmp_path / 'run' / 'training' / 'metrics.jsonl'
  lines = path.read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  watched = {'und/margin', 'gen/margin', 'und/accuracy', 'pairs/loss'}
  assert all(watched <= row.keys() for row in rows)
  moved = {
    kind: abs(rows[-1][f'{kind}/win_log_ratio']) > 1e-6
    for kind in ('und', 'gen')
  }
  assert moved == {'und': True, 'gen': True}  # One model does both.
