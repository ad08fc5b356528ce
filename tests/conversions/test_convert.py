"""Every checkpoint of the family converts and comes back bit for bit."""

import hashlib
import json
import pathlib
import re
import shlex

import conversion_files
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_world
import torch_files
import torch_weights

from conversions import convert
from conversions import to_pytorch
from conversions import verify
from conversions.files import tensors
from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import converted_model
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import terminal
from hermesflow_jax.training import adamw
from hermesflow_jax.training import train_step

DTYPES = {str(d): d for d in tensors.FLOATS}


# Each kind, and each dtype of the largest.
@pytest.mark.parametrize(
  'name, dtype',
  [
    *(('showo', dtype) for dtype in DTYPES),
    ('with_clip', 'bfloat16'),
    ('magvitv2', 'float32'),
    ('clip_vision', 'float16'),
  ],
)
def test_there_and_back_is_the_identity(run, tmp_path, name, dtype):
  src = conversion_files.folder_of(tmp_path / 'src', name, DTYPES[dtype])
  kind = conversion_files.NAMES[name]
  assert run(kind, src, tmp_path / 'ours') == (0, '')
  assert run(kind, tmp_path / 'ours', tmp_path / 'back', '--reverse')[0] == 0
  assert conversion_files.bits(tmp_path / 'back') == conversion_files.bits(src)
  assert json.loads((tmp_path / 'back' / 'config.json').read_text()) == (
    torch_weights.config(name)
    | ({'torch_dtype': dtype} if kind not in ('showo', 'magvitv2') else {})
  )


@pytest.mark.parametrize(
  'kind, folder', [('showo', 'showo_small'), ('magvitv2', 'magvit_small')]
)
def test_the_goldens_come_back(run, goldens, tmp_path, kind, folder):
  src = goldens / folder
  assert run(kind, src, tmp_path / 'ours')[0] == 0
  assert run(kind, tmp_path / 'ours', tmp_path / 'back', '--reverse')[0] == 0
  assert conversion_files.bits(tmp_path / 'back') == conversion_files.bits(src)
  # What the official form leaves unsaid is said, so it converts again.
  assert run(kind, tmp_path / 'back', tmp_path / 'again')[0] == 0
  first, again = (
    converted_model.read_record(str(tmp_path / name), kind)
    for name in ('ours', 'again')
  )
  assert (again.sizes, again.max_text) == (first.sizes, first.max_text)


def test_a_pickle_in_shards_converts_like_one_file(run, tmp_path):
  state = torch_weights.arrays('showo')
  src = tmp_path / 'src'
  src.mkdir()
  names, places = sorted(state), {}
  for i in range(3):
    file = f'pytorch_model-{i}.bin'
    torch_files.save(src / file, {n: state[n] for n in names[i::3]})
    places |= dict.fromkeys(names[i::3], file)
  (src / 'pytorch_model.bin.index.json').write_text(
    json.dumps({'weight_map': places})
  )
  (src / 'config.json').write_text(json.dumps(torch_weights.config('showo')))
  assert run('showo', src, tmp_path / 'ours')[0] == 0
  assert run('showo', tmp_path / 'ours', tmp_path / 'back', '--reverse')[0] == 0
  assert conversion_files.bits(tmp_path / 'back') == conversion_files.bits(
    conversion_files.folder_of(tmp_path / 'whole', 'showo')
  )


def test_layers_and_width_are_printed(tmp_path):
  src = conversion_files.folder_of(tmp_path / 'src', 'showo')
  lines = []
  console = terminal.Console(lines.append, terminal.silent().progress)
  assert convert.main(['showo', str(src), str(tmp_path / 'ours')], console) == 0
  decoder = torch_weights.SHOW_O.decoder
  assert f'{decoder.layers} layers of width {decoder.width}' in lines


def test_nothing_is_written_into_what_is_read(run, tmp_path):
  code, output = run('showo', tmp_path, tmp_path / 'a' / 'b')
  assert code == 2 and 'DST must not lie in SRC' in output
  assert not any(tmp_path.iterdir())


def test_a_checkpoint_says_where_it_came_from(converted):
  src, ours = converted
  record = converted_model.read_record(str(ours), 'showo')
  data = (src / 'model.safetensors').read_bytes()
  assert record.sha256 == {
    'model.safetensors': hashlib.sha256(data).hexdigest()
  }
  assert record.source == str(src)
  assert record.dtype == 'bfloat16'
  assert record.sizes == torch_weights.SHOW_O
  assert record.max_text == 6


@pytest.mark.parametrize('shape', [(1, 1), (2, 4), (8, 1)])
def test_a_checkpoint_is_restored_onto_any_mesh(converted, shape):
  mesh = tiny.mesh(*shape)
  record = converted_model.read_record(str(converted[1]), 'showo')
  actual = converted_model.restore_model(str(converted[1]), record, mesh)
  expected = torch_weights.model('showo')
  for (path, a), b in zip(
    jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected)
  ):
    np.testing.assert_array_equal(
      a, b.astype(tensors.BFLOAT16).astype(np.float32)
    )
    spec = sharding.partition_spec(sharding.path_name(path), a.shape, mesh)
    assert a.sharding.is_equivalent_to(
      jax.sharding.NamedSharding(mesh, spec), a.ndim
    )


def test_another_kind_is_refused(converted):
  with pytest.raises(ValueError, match='must be of kind magvitv2, got showo'):
    converted_model.read_record(str(converted[1]), 'magvitv2')


def test_a_run_says_which_round_is_taken(tmp_path, converted):
  model = torch_weights.model('showo', seed=5)
  rounds = tmp_path / 'run' / 'checkpoints'
  for number in (2, 10):
    checkpoint.save(str(rounds / str(number)), model, {'seconds': 1.0})
  lines = []
  to_pytorch.load_jax_model(
    'showo', str(tmp_path / 'run'), str(converted[1]), lines.append
  )
  assert lines == [f'{tmp_path}/run is a run: taking round 10, {rounds / "10"}']


@pytest.mark.parametrize('prefix', ['', 'model'])
def test_a_trained_checkpoint_goes_back(run, converted, tmp_path, prefix):
  trained = torch_weights.model('showo', seed=5)
  tree = jax.tree.map(jnp.asarray, trained)
  if prefix:
    optim = adamw.AdamWConfig(lr=1e-3, steps=3)
    tree = train_step.state_from_model(tree, optim, tiny.mesh(2, 2))
  checkpoint.save(str(tmp_path / 'run' / '3'), tree, {'seconds': 1.0})
  command = ('showo', tmp_path / 'run' / '3', tmp_path / 'back', '--reverse')
  code, message = run(*command)
  assert code == 2 and 'does not record its sizes' in message
  assert run(*command, '--sizes', converted[1])[0] == 0
  state = {k: v[2] for k, v in conversion_files.bits(tmp_path / 'back').items()}
  expected = to_pytorch.entries_of('showo', trained)
  assert state.keys() == expected.keys()
  for name, entry in expected.items():
    assert state[name] == entry.make().astype(np.float32).tobytes()


def test_a_bundle_goes_back_and_comes_again(run, tmp_path):
  base = tiny_world.bundle(tmp_path / 'base')
  assert run('showo', base, tmp_path / 'back', '--reverse')[0] == 0
  assert run('showo', tmp_path / 'back', tmp_path / 'ours')[0] == 0
  model, record = to_pytorch.load_jax_model('showo', str(base), None)
  again, result = to_pytorch.load_jax_model(
    'showo', str(tmp_path / 'ours'), None
  )
  assert (
    converted_model.ConversionRecord.meta(result)['converted']['sizes']
    == (record.meta()['converted']['sizes'])
  )
  for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(model)):
    np.testing.assert_array_equal(a, b)


def test_a_tokenizer_that_pytorch_has_not_is_not_written(run, tmp_path):
  base = tiny_world.bundle(tmp_path / 'base')
  code, output = run('magvitv2', base, tmp_path / 'back', '--reverse')
  assert code == 2 and 'config must have patch 1' in output
  assert 'Config(' not in output and 'by the kind showo' in output
  assert not (tmp_path / 'back').exists()


@pytest.mark.parametrize('name', ['README.md', 'docs/conversion.md'])
def test_the_commands_that_people_are_told_can_be_read(name):
  root = pathlib.Path(__file__).parents[2]
  actual = re.findall(
    r'^python -m conversions\.(convert|verify) (.*)$',
    (root / name).read_text(),
    re.MULTILINE,
  )
  assert len(actual) >= 3
  for command, arguments in actual:
    parser = {'convert': convert, 'verify': verify}[command].command_line()
    # Optional flags stand in brackets, KIND for any of them.
    plain = re.sub(r'\[.*?\]', '', arguments).replace('KIND', 'showo')
    assert parser.parse_args(shlex.split(plain)).kind in convert.KINDS
