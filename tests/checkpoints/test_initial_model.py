"""Jobs start from converted checkpoints as they start from a bundle."""

import dataclasses
import json

from flax import nnx
import jax
import numpy as np
import pytest
import tiny
import tiny_world
import torch_weights

import configs.pair_dpo
from conversions import convert
from conversions.files import source
from conversions.tables import magvit_table
from conversions.tables import showo_table
from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import model_folder
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs import pretrain
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import terminal

GRID = (4, 4)
# 64 px to 4 x 4 codes of 5 bits, as in the embedded world.
TOKENIZER = magvit_config.MagvitConfig(
  ch=1,
  encoder_ch_mult=(1,) * 5,
  decoder_ch_mult=(1,) * 5,
  encoder_num_res_blocks=(1,) * 5,
  decoder_num_res_blocks=(1,) * 5,
  z_channels=5,
  num_groups=1,
)


@pytest.fixture(scope='module')
def world(tmp_path_factory):
  """A folder with a bundle `base`, and the same Show-o converted as `model`,
  another tokenizer converted as `images`, and the text tokenizer `text`."""
  root = tmp_path_factory.mktemp('world')
  model = model_bundle.load_bundle(str(tiny_world.bundle(root / 'base'))).model
  images = torch_weights.noisy(magvit.Magvit(TOKENIZER, nnx.Rngs(3)), 3)
  torch_weights.write(
    root / 'model_src',
    showo_table.to_torch(model),
    showo_table.official(model.config, 14),
  )
  torch_weights.write(
    root / 'images_src',
    magvit_table.to_torch(images),
    magvit_table.official(TOKENIZER),
  )
  for kind, name in (('showo', 'model'), ('magvitv2', 'images')):
    assert (
      convert.main(
        [kind, str(root / f'{name}_src'), str(root / name)], terminal.silent()
      )
      == 0
    )
  (root / 'text').mkdir()
  pretrain.world_tokenizer().save(str(root / 'text' / 'tokenizer.json'))
  return root


def sizes_of(world):
  """What fits the checkpoints."""
  parts = model_bundle.load_bundle(str(world / 'base'))
  return model_folder.Sizes(
    parts.model.config.vocab,
    parts.model.config.decoder,
    TOKENIZER,
    parts.lengths,
    GRID,
  )


def load(world, mesh=None, **changes):
  sizes = changes.pop('sizes', sizes_of(world))
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
  found = load(world, mesh)
  wanted = model_bundle.load_bundle(str(world / 'base'))
  for a, b in zip(jax.tree.leaves(found.model), jax.tree.leaves(wanted.model)):
    np.testing.assert_array_equal(a, b)
  placed = sharding.shardings(found.model, mesh)
  for a, s in zip(jax.tree.leaves(found.model), jax.tree.leaves(placed)):
    assert a.sharding.is_equivalent_to(s, a.ndim)
  assert found.tokenizer.config == TOKENIZER
  assert (found.lengths, found.grid) == (wanted.lengths, GRID)
  assert found.text.encode(['red']) == wanted.text.encode(['red'])


def test_how_a_model_is_computed_is_the_jobs_to_say(world):
  sizes = sizes_of(world)
  decoder = dataclasses.replace(sizes.decoder, remat='dots', unroll=2)
  found = load(world, sizes=dataclasses.replace(sizes, decoder=decoder))
  assert found.model.config.decoder == decoder
  again = initial_model.open(world / 'base').load_transformer(
    dataclasses.replace(found.model.config, decoder=decoder), tiny.mesh(1, 1)
  )
  assert again.config.decoder == decoder


def test_how_a_bundle_is_computed_is_the_jobs_to_say_too(world):
  sizes = sizes_of(world)
  decoder = dataclasses.replace(sizes.decoder, remat='dots', unroll=2)
  path, mesh = str(world / 'base'), tiny.mesh(1, 1)
  sizes = dataclasses.replace(
    sizes, tokenizer=model_bundle.load_bundle(path).tokenizer.config
  )
  found, before = (
    initial_model.open(path).load(each, mesh).model
    for each in (dataclasses.replace(sizes, decoder=decoder), None)
  )
  assert found.config.decoder == decoder != before.config.decoder
  jax.tree.map(
    np.testing.assert_array_equal,
    jax.tree.leaves(found),
    jax.tree.leaves(before),
  )


@pytest.mark.parametrize(
  'field, value, said',
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
def test_other_sizes_are_refused(world, field, value, said):
  sizes = sizes_of(world)
  changed = dataclasses.replace(getattr(sizes, field), **value)
  with pytest.raises(ValueError, match=said):
    load(world, sizes=dataclasses.replace(sizes, **{field: changed}))


@pytest.mark.parametrize(
  'changes, said',
  [
    ({'sizes': None}, 'sizes must be given for'),
    ({'path': 'images'}, 'of kind magvitv2, wanted showo'),
    ({'tokenizer': 'model'}, 'of kind showo, wanted magvitv2'),
    ({'tokenizer': 'nowhere'}, 'no readable bundle at'),
    ({'text': 'nowhere'}, 'no tokenizer at'),
  ],
)
def test_parts_that_do_not_fit_are_refused(world, changes, said):
  with pytest.raises(ValueError, match=said):
    load(world, **changes)


def test_another_text_tokenizer_is_refused(world):
  tiny.text().save(str(world / 'text' / 'other.json'))
  with pytest.raises(ValueError, match='text ids and end of'):
    load(world, text='text/other.json')


def test_sums_are_of_the_files_that_were_converted(world):
  found = initial_model.open(world / 'model').weight_hashes(
    str(world / 'images')
  )
  assert sorted(found) == [
    'model/model.safetensors',
    'tokenizer/model.safetensors',
  ]
  assert (
    initial_model.open(world / 'base').weight_hashes()
    == (model_bundle.read_sizes(str(world / 'base'))[1])
  )


def settings_of(world, **changes):
  """Settings of a tiny self-play that starts from the checkpoints."""
  return dataclasses.replace(
    tiny_world.self_play(world / 'base'),
    **{
      'init_from': str(world / 'model'),
      'tokenizer': str(world / 'images'),
      'text': str(world / 'text' / 'tokenizer.json'),
      'sizes': sizes_of(world),
      'missing': 'how to get it',
    }
    | changes,
  )


def test_a_missing_model_is_named_with_the_way_to_get_it(world):
  config = settings_of(world, init_from='nowhere')
  with pytest.raises(ValueError, match='no checkpoint at nowhere. how to get'):
    job_model.locate(config)


@pytest.mark.parametrize(
  'setting, way', [('tokenizer', 'convert magvitv2'), ('text', 'phi-1_5')]
)
def test_a_missing_tokenizer_is_named_with_the_way_to_get_it(
  world, setting, way
):
  """The set-up is named only for the folder that the set-up makes."""
  config = settings_of(world, **{setting: 'nowhere'})
  wrong_name = f"{setting} must be .*{way}.*, got 'nowhere'.*check the name"
  with pytest.raises(ValueError, match=wrong_name):
    job_model.locate(config)
  no_setup = f"got 'nowhere', which does not exist. This makes nowhere"
  config = dataclasses.replace(config, missing='This makes nowhere')
  with pytest.raises(ValueError, match=no_setup):
    job_model.locate(config)


@pytest.mark.parametrize('setting', ['tokenizer', 'text'])
def test_a_converted_model_needs_tokenizers(world, setting):
  config = settings_of(world, **{setting: ''})
  with pytest.raises(ValueError, match=f"{setting} must be .* got ''"):
    job_model.locate(config)


@pytest.mark.parametrize('setting', ['tokenizer', 'text'])
def test_a_wrong_tokenizer_beside_a_bundle_is_not_passed_over(world, setting):
  config = settings_of(world, init_from=str(world / 'base'), missing='')
  config = dataclasses.replace(config, **{setting: 'nowhere'})
  with pytest.raises(ValueError, match=f"{setting} must be .* got 'nowhere'"):
    job_model.locate(config)
  # The default of a config for converted models may be missing.
  config = dataclasses.replace(config, missing='how to get it')
  lines = []
  job_model.locate(config, terminal.Console(lines.append, lambda label: iter))
  assert lines == [
    f'{setting} nowhere does not exist: taking that of {world / "base"}'
  ]


@pytest.mark.parametrize(
  'init_from, message',
  [
    ('', "init_from must be the folder of a model or run, got ''; give"),
    ('model_src', 'holds PyTorch weights; convert them with `python -m conve'),
  ],
)
def test_a_start_that_is_no_model_is_refused_with_the_way_on(
  world, init_from, message
):
  path = init_from and str(world / init_from)
  with pytest.raises(ValueError, match=message):
    job_model.locate(settings_of(world, init_from=path))


def test_self_play_runs_from_converted_checkpoints_and_back(world, tmp_path):
  config = settings_of(world)
  config = dataclasses.replace(
    config, play=dataclasses.replace(config.play, rounds=1)
  )
  found = pair_dpo.run(config, str(tmp_path / 'run'), terminal.silent())
  assert [row['round'] for row in found['rounds']] == [0, 1]
  claimed = json.loads((tmp_path / 'run' / 'settings.json').read_text())
  assert sorted(claimed['base']) == [
    'model/model.safetensors',
    'tokenizer/model.safetensors',
  ]
  assert (
    convert.main(
      [
        'showo',
        str(tmp_path / 'run' / 'checkpoints' / '1'),
        str(tmp_path / 'back'),
        '--reverse',
        '--sizes',
        str(world / 'model'),
      ],
      terminal.silent(),
    )
    == 0
  )
  back, first = (
    source.find(str(path)) for path in (tmp_path / 'back', world / 'model_src')
  )
  assert back.config == first.config
  assert back.tensors.keys() == first.tensors.keys()
  assert any(
    (back.tensors[name].read() != first.tensors[name].read()).any()
    for name in first.tensors
  )


@pytest.mark.parametrize('variant', ['show_o_256', 'show_o_512'])
def test_the_line_about_missing_weights_makes_what_is_wanted(variant):
  config = configs.pair_dpo.get_config(variant)
  commands = config.missing.split('python -m conversions.convert ')[1:]
  made = {}
  for command in commands:
    kind, src, dst = command.replace(',', '').split()[:3]
    assert kind in convert.KINDS and src.startswith('showlab/')
    made[kind] = dst
  assert made == {'showo': config.init_from, 'magvitv2': config.tokenizer}
  assert config.text in config.missing


def test_converted_checkpoints_may_be_in_a_bucket(world, bucket):
  for name in ('model', 'images', 'text'):
    bucket.put_folder(name, world / name)
  wanted = load(world)
  found = initial_model.open('gs://bucket/model').load(
    sizes_of(world),
    tiny.mesh(4, 2),
    'gs://bucket/images',
    'gs://bucket/text/tokenizer.json',
  )
  for a, b in zip(
    jax.tree.leaves((found.model, found.tokenizer)),
    jax.tree.leaves((wanted.model, wanted.tokenizer)),
    strict=True,
  ):
    np.testing.assert_array_equal(a, b)
  assert initial_model.open('gs://bucket/model').weight_hashes(
    'gs://bucket/images'
  ) == initial_model.open(world / 'model').weight_hashes(str(world / 'images'))
  with pytest.raises(ValueError, match='no checkpoint at gs://bucket/none'):
    initial_model.check_exists(['gs://bucket/model', 'gs://bucket/none'], '')
