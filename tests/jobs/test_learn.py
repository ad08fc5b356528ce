"""Learning from pairs that were made before."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import tiny_world

import configs.curate
import configs.learn
from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import lora_checkpoint
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import run_folder
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.curation import pair_files
from hermesflow_jax.curation import pair_selection
from hermesflow_jax.jobs import curate
from hermesflow_jax.jobs import learn
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.pair_dpo import learning
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import terminal
from hermesflow_jax.training import train_step


@pytest.fixture(scope='module')
def base(tmp_path_factory):
  return tiny_world.bundle(tmp_path_factory.mktemp('base'))


@pytest.fixture(scope='module')
def pairs(base, tmp_path_factory):
  """The folder of a curation."""
  folder = tmp_path_factory.mktemp('pairs') / 'run'
  config = configs.curate.get_config()
  del config.job
  config.update(
    {
      'init_from': str(base),
      'inputs': 9,
      'shard': 5,
      'images': 3,
      'captions': config.captions[-2:],
    }
  )
  config.sampler.steps = 2
  config.rules.least_win = 0.0
  curate.run(
    settings.build(curate.Settings, config.to_dict()),
    str(folder),
    terminal.silent(),
  )
  return folder


def configured(base, pairs, **changes):
  config = configs.learn.get_config()
  del config.job
  config.update(
    {
      'init_from': str(base),
      'pairs': str(pairs),
      'both': False,
      'batch': 8,
      'epochs': 0.0,
      'log_every': 1,
      'save_every': 1,
    }
  )
  config.optim.update({'steps': 3, 'lr': 1e-2})
  config.update(changes)
  return settings.build(learn.Settings, config.to_dict())


@pytest.fixture(scope='module')
def learned(base, pairs, tmp_path_factory):
  folder = tmp_path_factory.mktemp('learned') / 'run'
  result = learn.run(configured(base, pairs), str(folder), terminal.silent())
  return folder, result


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
  config = configured(base, pairs)
  parts, mesh = model_bundle.load_bundle(base), config.mesh.make()
  player = job_model.place_on_mesh(config, parts, mesh, terminal.silent())
  wanted = learning.learn_round(
    player, player.model, rows, config, 3, tmp_path, 1, terminal.silent()
  )
  found = trained_model.load_parts(str(folder / 'model'))
  jax.tree.map(np.testing.assert_array_equal, found.model, wanted)
  assert not np.array_equal(
    found.model.head.kernel[...], parts.model.head.kernel[...]
  )
  assert found.grid == parts.grid and found.lengths == parts.lengths


def test_what_it_leaves_is_a_base_for_other_jobs(learned, pairs, tmp_path):
  folder, _ = learned
  result = learn.run(
    configured(folder / 'model', pairs),
    str(tmp_path / 'run'),
    terminal.silent(),
  )
  assert result['steps'] == 3


def test_another_seed_rate_and_length_want_no_new_program(
  base, pairs, tmp_path, caplog
):
  """As rounds and arms of a comparison do."""
  changed = configured(base, pairs, seed=7)
  optim = dataclasses.replace(changed.optim, lr=3e-3, steps=4, warmup=0.5)
  train_step._program.cache_clear()
  with jax.log_compiles():
    for each in (
      configured(base, pairs),
      dataclasses.replace(changed, optim=optim),
    ):
      learn.run(each, str(tmp_path / str(each.seed)), terminal.silent())
  compiled = [
    line
    for line in caplog.messages
    if 'Finished XLA compilation of jit(step)' in line
  ]
  assert len(compiled) == 1


def test_a_finished_run_is_not_run_again(base, pairs, learned):
  folder, result = learned
  assert (
    learn.run(configured(base, pairs), str(folder), terminal.silent()) == result
  )
  with pytest.raises(ValueError, match='other settings: config.batch'):
    learn.run(configured(base, pairs, batch=16), str(folder), terminal.silent())


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


@pytest.mark.parametrize(
  'damage, said',
  [
    (lambda f: next(f.rglob('pairs-train*')).write_bytes(b'x'), 'is damaged'),
    (lambda f: (f / 'manifest.json').unlink(), 'no finished curation'),
    (
      lambda f: (f / 'manifest.json').write_text('{"sha256": {"a": "b"}}'),
      'has no dataset',
    ),
    (lambda f: (f / 'manifest.json').write_text('[]'), 'no finished curation'),
  ],
)
def test_what_is_no_curation_is_refused(base, pairs, tmp_path, damage, said):
  shutil.copytree(pairs, tmp_path / 'pairs')
  damage(tmp_path / 'pairs')
  with pytest.raises(ValueError, match=said):
    learn.run(
      configured(base, tmp_path / 'pairs'),
      str(tmp_path / 'run'),
      terminal.silent(),
    )
  assert not (tmp_path / 'run').exists()


def test_checkpoints_of_an_earlier_release_are_of_the_same_round(base, pairs):
  """Commit 423190d kept `label_rows`, and dropped names one by one."""
  config = configured(base, pairs)
  said = dataclasses.asdict(config)
  del said['optim']['accumulate']
  kept = {field.name for field in dataclasses.fields(learning.LearningConfig)}
  kept -= {'log_every', 'save_every', 'sample_every', 'profile_steps'}
  rows = [{'id': 'a'}]
  new = learning._identity(config, 3, rows)
  old = {'steps': 3, 'records': new['records']} | {
    name: json.loads(json.dumps(said[name])) for name in kept
  }
  assert 'label_rows' in old and 'label_rows' not in new
  assert settings.identity(learning.LearningConfig, old) == new
  changed = dataclasses.replace(config, label_rows=7, log_every=3)
  assert learning._identity(changed, 3, rows) == new
  assert (
    learning._identity(dataclasses.replace(config, batch=4), 3, rows) != new
  )


def test_records_must_fit_and_teach():
  side = pair_selection.ScoredCandidate(np.zeros(4, np.int32), 1.0)
  row = pair_files.pair_to_record(
    'a',
    'b',
    (
      pair_selection.Pair(
        pair_selection.ScoredCandidate('c', 1.0),
        pair_selection.ScoredCandidate('d', 0.0),
      ),
      pair_selection.Pair(side, side, 'same content'),
    ),
  ) | {'codes': [0] * 4}
  assert [r['id'] for r in learn.trainable_records([row], 4, both=False)] == [
    'a'
  ]
  with pytest.raises(ValueError, match='no input has a pair'):
    learn.trainable_records([row], 4, both=True)
  with pytest.raises(ValueError, match='must have 16 codes .* got 4'):
    learn.trainable_records([row], 16, both=False)


def test_no_pairs_are_refused(base):
  with pytest.raises(ValueError, match='pairs must be the folder'):
    configured(base, '')


@pytest.mark.parametrize(
  'name', ['dpo_understanding', 'dpo_generation', 'sft', 'ipo', 'per_token']
)
def test_every_method_learns_from_the_same_pairs(base, pairs, tmp_path, name):
  config = configured(base, pairs)
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


def test_adapters_learn_alone_and_are_saved_alone(base, pairs, tmp_path):
  """Base and adapters are the model that was learned."""
  adapted = {'lora': {'rank': 2, 'alpha': 4.0, 'targets': ('q_proj', 'fc2')}}
  config = configured(base, pairs, **adapted)
  folder = tmp_path / 'run'
  learn.run(config, str(folder), terminal.silent())
  found = trained_model.load_parts(str(folder / 'model')).model
  mesh = config.mesh.make(8)
  saved = str(folder / 'training' / 'adapters')
  adapters, kind = lora_checkpoint.read_adapters(
    saved, model_bundle.load_bundle(base).model, mesh
  )
  with pytest.raises(ValueError, match='beside another model'):
    lora_checkpoint.read_adapters(saved, found, mesh)
  assert kind == config.lora
  assert {n: set(a) for n, a in adapters.items()} == {
    'q_proj': {'a', 'b'},
    'fc2': {'a', 'b'},
  }
  assert np.any(adapters['q_proj']['b'])
  named = dataclasses.replace(
    config, adapters=str(folder / 'training' / 'adapters')
  )
  whole = job_model.load_parts(named, base, mesh)
  sums = job_model.weight_hashes(named, base)
  assert set(sums) > set(job_model.weight_hashes(config, base))
  assert 'adapters/q_proj/a' in sums
  before = model_bundle.load_bundle(base).model
  names, changed = [], []
  for (path, a), b, c in zip(
    jax.tree_util.tree_flatten_with_path(found)[0],
    jax.tree.leaves(whole.model),
    jax.tree.leaves(before),
    strict=True,
  ):
    np.testing.assert_allclose(a, b, atol=1e-6)
    names.append(sharding.path_name(path))
    changed.append(bool(np.any(np.asarray(a) != np.asarray(c))))
  assert {n for n, c in zip(names, changed) if c} == {
    'decoder/layers/q_proj/kernel',
    'decoder/layers/fc2/kernel',
  }


def test_what_holds_no_adapters_is_refused(base, pairs, tmp_path):
  config = configured(base, pairs)
  model = model_bundle.load_bundle(base).model
  checkpoint.save(str(tmp_path / 'a'), {'a': jax.numpy.zeros(2)}, {})
  with pytest.raises(ValueError, match='holds no adapters'):
    lora_checkpoint.read_adapters(
      str(tmp_path / 'a'), model, config.mesh.make(8)
    )
  missing = dataclasses.replace(config, adapters=str(tmp_path / 'no'))
  with pytest.raises(ValueError, match='adapters: no checkpoint at .*no'):
    job_model.locate(missing)


def test_all_may_be_in_a_bucket(base, pairs, bucket, tmp_path):
  """Also what adapters add to a model."""
  adapted = {'lora': {'rank': 2, 'alpha': 4.0, 'targets': ('q_proj', 'fc2')}}
  wanted = learn.run(
    configured(base, pairs, **adapted), str(tmp_path / 'run'), terminal.silent()
  )
  bucket.put_folder('base', base)
  bucket.put_folder('pairs', pairs)
  config = configured('gs://bucket/base', 'gs://bucket/pairs', **adapted)
  found = learn.run(config, 'gs://bucket/run', terminal.silent())
  assert {**found, 'seconds': 0} == {**wanted, 'seconds': 0}
  assert (
    str(run_folder.newest_model('gs://bucket/run')) == 'gs://bucket/run/model'
  )
  assert trained_model.read_record('gs://bucket/run/model').sha256 == (
    trained_model.read_record(str(tmp_path / 'run' / 'model')).sha256
  )
  assert checkpoint.array_hashes('gs://bucket/run/model') == (
    checkpoint.array_hashes(str(tmp_path / 'run' / 'model'))
  )
  assert not bucket.names('run/training/steps/')
  named = dataclasses.replace(
    config, adapters='gs://bucket/run/training/adapters'
  )
  there = job_model.locate(named)
  mesh = config.mesh.make()
  whole = job_model.load_parts(named, there, mesh).model
  for a, b in zip(
    jax.tree.leaves(whole),
    jax.tree.leaves(trained_model.load_parts('gs://bucket/run/model').model),
  ):
    np.testing.assert_allclose(a, b, atol=1e-6)
  again = learn.run(config, 'gs://bucket/run', terminal.silent())
  assert again == found


def test_pairs_of_a_bucket_that_are_damaged_are_named(base, pairs, bucket):
  bucket.put_folder('pairs', pairs)
  (name,) = (n for n in bucket.names('pairs/tfds/') if 'array_record' in n)
  bucket.put(name, bucket.blobs[name].data[:-1] + b'x')
  config = configured(base, 'gs://bucket/pairs')
  with pytest.raises(ValueError, match=f'gs://bucket/{name} is damaged'):
    learn.run(config, 'gs://bucket/run', terminal.silent())
  with pytest.raises(ValueError, match='no finished curation in gs://bucket/x'):
    learn.run(
      configured(base, 'gs://bucket/x'), 'gs://bucket/run', terminal.silent()
    )
