"""LoRA adapters are trained and saved alone."""

import dataclasses
import shlex

import jax
import learn_runs
import numpy as np
import pytest

from conversions import convert
from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import lora_checkpoint
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import run_folder
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.jobs import learn
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import model_hashes
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import terminal

ADAPTERS = {'lora': {'rank': 2, 'alpha': 4.0, 'targets': ('q_proj', 'fc2')}}


@pytest.fixture(scope='module')
def adapted(base, pairs, tmp_path_factory):
  """Settings, folder and result of a run that trains adapters."""
  config = learn_runs.configured(base, pairs, **ADAPTERS)
  folder = tmp_path_factory.mktemp('adapted') / 'run'
  return config, folder, learn.run(config, str(folder), terminal.silent())


def test_adapters_learn_alone_and_are_saved_alone(base, adapted):
  """Base and adapters are the model that was learned."""
  config, folder, _ = adapted
  actual = trained_model.load_parts(str(folder / 'model')).model
  mesh = config.mesh.make(8)
  saved = str(folder / 'training' / 'adapters')
  adapters, kind = lora_checkpoint.read_adapters(
    saved, model_bundle.load_bundle(base).model, mesh
  )
  with pytest.raises(ValueError, match='with another model'):
    lora_checkpoint.read_adapters(saved, actual, mesh)
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
  sums = model_hashes.weight_hashes(named, base)
  assert set(sums) > set(model_hashes.weight_hashes(config, base))
  assert 'adapters/q_proj/a' in sums
  of_run = dataclasses.replace(config, adapters=str(folder))
  assert model_hashes.weight_hashes(of_run, base) == sums
  before = model_bundle.load_bundle(base).model
  names, changed = [], []
  for (path, a), b, c in zip(
    jax.tree_util.tree_flatten_with_path(actual)[0],
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
  config = learn_runs.configured(base, pairs)
  model = model_bundle.load_bundle(base).model
  checkpoint.save(str(tmp_path / 'a'), {'a': jax.numpy.zeros(2)}, {})
  with pytest.raises(ValueError, match='holds no adapters'):
    lora_checkpoint.read_adapters(
      str(tmp_path / 'a'), model, config.mesh.make(8)
    )
  missing = dataclasses.replace(config, adapters=str(tmp_path / 'no'))
  with pytest.raises(ValueError, match='adapters must be .*no checkpoint'):
    job_model.locate(missing)


def test_a_peft_folder_names_the_command_that_converts_it(
  base, pairs, tmp_path
):
  (tmp_path / 'adapter_config.json').write_text('{}')
  config = learn_runs.configured(base, pairs, adapters=str(tmp_path))
  with pytest.raises(
    ValueError, match='got the PEFT folder .* --base='
  ) as error:
    job_model.locate(config)
  words = shlex.split(str(error.value).split('`')[1])
  parsed = convert.command_line().parse_args(words[3:])
  assert (parsed.kind, parsed.src, parsed.base) == (
    'lora',
    str(tmp_path),
    str(base),
  )


def test_all_may_be_in_a_bucket(base, pairs, bucket, adapted):
  """Also what adapters add to a model."""
  _, folder, expected = adapted
  bucket.put_folder('base', base)
  bucket.put_folder('pairs', pairs)
  config = learn_runs.configured(
    'gs://bucket/base', 'gs://bucket/pairs', **ADAPTERS
  )
  actual = learn.run(config, 'gs://bucket/run', terminal.silent())
  assert {**actual, 'seconds': 0} == {**expected, 'seconds': 0}
  assert (
    str(run_folder.newest_model('gs://bucket/run')) == 'gs://bucket/run/model'
  )
  assert trained_model.read_record('gs://bucket/run/model').sha256 == (
    trained_model.read_record(str(folder / 'model')).sha256
  )
  assert checkpoint.array_hashes('gs://bucket/run/model') == (
    checkpoint.array_hashes(str(folder / 'model'))
  )
  assert not bucket.names('run/training/steps/')
  named = dataclasses.replace(
    config, adapters='gs://bucket/run/training/adapters'
  )
  other = job_model.locate(named)
  mesh = config.mesh.make()
  whole = job_model.load_parts(named, other, mesh).model
  for a, b in zip(
    jax.tree.leaves(whole),
    jax.tree.leaves(trained_model.load_parts('gs://bucket/run/model').model),
  ):
    np.testing.assert_allclose(a, b, atol=1e-6)
  again = learn.run(config, 'gs://bucket/run', terminal.silent())
  assert again == actual
