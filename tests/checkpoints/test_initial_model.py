"""Jobs start from converted checkpoints as they start from a bundle."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import tiny
import tiny_jobs

from conversions import convert
from conversions.files import source
from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import judge_model
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import terminal


def load(world, mesh=None, **changes):
  sizes = changes.pop('sizes', tiny_jobs.converted_sizes(world))
  names = {
    'path': 'model',
    'tokenizer': 'images',
    'text': 'text/tokenizer.json',
  } | changes
  paths = {k: str(world / v) for k, v in names.items()}
  return initial_model.open(paths.pop('path')).load(
    sizes, mesh or tiny.mesh(1, 1), **paths
  )


@pytest.mark.parametrize('shape', [(1, 1), (4, 2)])
def test_converted_checkpoints_are_a_bundle_on_a_mesh(world, shape):
  mesh = tiny.mesh(*shape)
  result = load(world, mesh)
  expected = model_bundle.load_bundle(str(world / 'base'))
  for a, b in zip(
    jax.tree.leaves(result.model), jax.tree.leaves(expected.model)
  ):
    np.testing.assert_array_equal(a, b)
  placed = sharding.shardings(result.model, mesh)
  for a, s in zip(jax.tree.leaves(result.model), jax.tree.leaves(placed)):
    assert a.sharding.is_equivalent_to(s, a.ndim)
  assert result.tokenizer.config == tiny_jobs.MAGVIT
  assert (result.lengths, result.grid) == (expected.lengths, tiny_jobs.GRID)
  assert result.text.encode(['red']) == expected.text.encode(['red'])


def test_how_a_model_is_computed_is_the_jobs_to_say(world):
  sizes = tiny_jobs.converted_sizes(world)
  decoder = dataclasses.replace(sizes.decoder, remat='dots', unroll=2)
  result = load(world, sizes=dataclasses.replace(sizes, decoder=decoder))
  assert result.model.config.decoder == decoder
  again = initial_model.open(world / 'base').load_transformer(
    dataclasses.replace(result.model.config, decoder=decoder), tiny.mesh(1, 1)
  )
  assert again.config.decoder == decoder


def test_how_a_bundle_is_computed_is_the_jobs_to_say_too(world):
  sizes = tiny_jobs.converted_sizes(world)
  decoder = dataclasses.replace(sizes.decoder, remat='dots', unroll=2)
  path, mesh = str(world / 'base'), tiny.mesh(1, 1)
  sizes = dataclasses.replace(
    sizes, tokenizer=model_bundle.load_bundle(path).tokenizer.config
  )
  result, before = (
    initial_model.open(path).load(expected_sizes, mesh).model
    for expected_sizes in (dataclasses.replace(sizes, decoder=decoder), None)
  )
  assert result.config.decoder == decoder != before.config.decoder
  jax.tree.map(
    np.testing.assert_array_equal,
    jax.tree.leaves(result),
    jax.tree.leaves(before),
  )


@pytest.mark.parametrize(
  'field, value, message',
  [
    ('decoder', {'mlp': 8}, 'decoder.mlp of .* must be 8, got 16'),
    (
      'vocab',
      {'codebook_size': 16},
      'vocab.codebook_size of .* must be 16, got 32',
    ),
    ('tokenizer', {'ch': 2}, 'tokenizer.ch of .* must be 2, got 1'),
  ],
)
def test_other_sizes_are_refused(world, field, value, message):
  sizes = tiny_jobs.converted_sizes(world)
  changed = dataclasses.replace(getattr(sizes, field), **value)
  with pytest.raises(ValueError, match=message):
    load(world, sizes=dataclasses.replace(sizes, **{field: changed}))


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'sizes': None}, 'sizes must be given for'),
    ({'path': 'images'}, 'must be of kind showo, got magvitv2'),
    ({'tokenizer': 'model'}, 'must be of kind magvitv2, got showo'),
    ({'tokenizer': 'nowhere'}, 'no readable bundle at'),
    ({'text': 'nowhere'}, 'no tokenizer at'),
  ],
)
def test_parts_that_do_not_fit_are_refused(world, changes, message):
  with pytest.raises(ValueError, match=message):
    load(world, **changes)


def test_a_converted_model_judges_with_the_sizes_of_the_run(world):
  sizes = tiny_jobs.converted_sizes(world)
  settings = tiny_jobs.converted_settings(world, sizes=None)
  path = world / 'model'
  judge = judge_model.with_sizes(settings, path, sizes)
  parts = job_model.load_parts(judge, path, tiny.mesh(1, 1))
  assert parts.model.config.vocab == sizes.vocab
  # A bundle has its own.
  assert judge_model.with_sizes(settings, world / 'base', sizes) is settings
  with pytest.raises(ValueError, match='in a run without `sizes`, got'):
    judge_model.with_sizes(settings, path, None)


def test_another_text_tokenizer_is_refused(world):
  tiny.text().save(str(world / 'text' / 'other.json'))
  with pytest.raises(ValueError, match='text ids and end of'):
    load(world, text='text/other.json')


def test_sums_are_of_the_files_that_were_converted(world):
  result = initial_model.open(world / 'model').weight_hashes(
    str(world / 'images')
  )
  assert sorted(result) == [
    'model/model.safetensors',
    'tokenizer/model.safetensors',
  ]
  assert (
    initial_model.open(world / 'base').weight_hashes()
    == (model_bundle.read_sizes(str(world / 'base'))[1])
  )


def test_self_play_runs_from_converted_checkpoints_and_back(root, tmp_path):
  results = json.loads((root / 'run' / 'results.json').read_text())
  assert [row['round'] for row in results['rounds']] == [0, 1, 2]
  claimed = json.loads((root / 'run' / 'settings.json').read_text())
  assert sorted(claimed['base']) == [
    'model/model.safetensors',
    'tokenizer/model.safetensors',
  ]
  assert (
    convert.main(
      [
        'showo',
        str(root / 'run' / 'checkpoints' / '1'),
        str(tmp_path / 'back'),
        '--reverse',
        '--sizes',
        str(root / 'model'),
      ],
      terminal.silent(),
    )
    == 0
  )
  back, first = (
    source.find(str(path)) for path in (tmp_path / 'back', root / 'model_src')
  )
  assert back.config == first.config
  assert back.tensors.keys() == first.tensors.keys()
  assert any(
    (back.tensors[name].read() != first.tensors[name].read()).any()
    for name in first.tensors
  )


def test_converted_checkpoints_may_be_in_a_bucket(world, bucket):
  for name in ('model', 'images', 'text'):
    bucket.put_folder(name, world / name)
  expected = load(world)
  result = initial_model.open('gs://bucket/model').load(
    tiny_jobs.converted_sizes(world),
    tiny.mesh(4, 2),
    'gs://bucket/images',
    'gs://bucket/text/tokenizer.json',
  )
  for a, b in zip(
    jax.tree.leaves((result.model, result.tokenizer)),
    jax.tree.leaves((expected.model, expected.tokenizer)),
    strict=True,
  ):
    np.testing.assert_array_equal(a, b)
  assert initial_model.open('gs://bucket/model').weight_hashes(
    'gs://bucket/images'
  ) == initial_model.open(world / 'model').weight_hashes(str(world / 'images'))
  with pytest.raises(ValueError, match='no checkpoint at gs://bucket/none'):
    initial_model.check_exists(['gs://bucket/model', 'gs://bucket/none'], '')
