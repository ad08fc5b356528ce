"""Training by GRPO on the candidates of a curation."""

import dataclasses
import json
import shutil

import jax
import learn_runs
import numpy as np
import pytest
import self_play_runs

from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.jobs import learn
from hermesflow_jax.runtime import terminal

CHANGES = {
  'method': 'grpo',
  'und_sft_weight': 0.0,
  'gen_sft_weight': 0.0,
  'masks': 1,
}


def configured(base, pairs, **changes) -> learn.Settings:
  """Returns settings of three steps on groups of both kinds."""
  config = learn_runs.configured(base, pairs)
  objective = dataclasses.replace(config.objective, **CHANGES | changes)
  return dataclasses.replace(config, objective=objective)


@pytest.fixture(scope='module')
def learned_groups(base, pairs, tmp_path_factory):
  folder = tmp_path_factory.mktemp('learned_groups') / 'run'
  learn.run(configured(base, pairs), str(folder), terminal.silent())
  return folder


def metrics(folder):
  lines = (folder / 'training' / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def test_a_curation_teaches_its_groups(base, pairs, learned_groups):
  results = json.loads((learned_groups / 'results.json').read_text())
  for kind in ('caption', 'image'):
    counts = results['groups'][kind]
    assert sum(counts.values()) == 9 and counts['kept'] > 0
    assert counts['kept'] <= results['inputs'] <= 9
  assert 0 <= results['rewards']['image'] <= 1
  rows = metrics(learned_groups)
  assert [row['step'] for row in rows] == [1, 2, 3]
  for row in rows:
    for name in ('loss', 'ratio', 'clipped', 'gain', 'kl', 'reward', 'groups'):
      assert np.isfinite(row[f'und/{name}']) and np.isfinite(row[f'gen/{name}'])
    assert row['speed/groups_per_second'] > 0
  np.testing.assert_allclose(rows[0]['gen/ratio'], 1.0, rtol=1e-4)
  np.testing.assert_allclose(rows[0]['und/ratio'], 1.0, rtol=1e-4)
  assert rows[-1]['gen/kl'] > rows[0]['gen/kl']
  before = model_bundle.load_bundle(base).model.head.kernel[...]
  after = trained_model.load_parts(str(learned_groups / 'model')).model
  assert not np.array_equal(after.head.kernel[...], before)


def test_a_run_that_is_stopped_ends_with_the_same_bits(
  base, pairs, learned_groups, tmp_path
):
  steps = 0

  def progress(label):
    def wrap(items):
      nonlocal steps
      for item in items:
        if 'learning' in label and steps == 2:
          steps += 1
          raise KeyboardInterrupt
        steps += 'learning' in label
        yield item

    return wrap

  config, console = configured(base, pairs), terminal.silent()
  folder = tmp_path / 'run'
  with pytest.raises(KeyboardInterrupt):
    learn.run(
      config, str(folder), dataclasses.replace(console, progress=progress)
    )
  learn.run(config, str(folder), console)
  actual, expected = (
    trained_model.load_parts(str(run / 'model')).model
    for run in (folder, learned_groups)
  )
  jax.tree.map(np.testing.assert_array_equal, actual, expected)
  rows = [
    self_play_runs.timeless(metrics(run)) for run in (folder, learned_groups)
  ]
  assert rows[0] == rows[1]


def test_groups_need_the_candidates_of_the_curation(base, pairs, tmp_path):
  folder = shutil.copytree(pairs, tmp_path / 'pairs')
  next((folder / 'shards').glob('*.npz')).write_bytes(b'x')
  with pytest.raises(ValueError, match='shard 0 is missing or damaged'):
    learn.run(
      configured(base, folder), str(tmp_path / 'run'), terminal.silent()
    )


def test_a_file_of_the_official_code_has_no_groups(base, tmp_path):
  file = tmp_path / 'pair_dpo_data.json'
  file.write_text('[]')
  with pytest.raises(ValueError, match='objective.method must be .*, got grpo'):
    learn.run(configured(base, file), str(tmp_path / 'run'), terminal.silent())


def test_a_reference_needs_a_divergence(base, pairs):
  config = configured(base, pairs)
  with pytest.raises(ValueError, match="reference must be '' with"):
    dataclasses.replace(config, reference='assets:shapes')
  objective = dataclasses.replace(config.objective, kl_weight=1.0)
  dataclasses.replace(config, objective=objective, reference='assets:shapes')
