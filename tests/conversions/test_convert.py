"""Every checkpoint of the family converts, comes back, or says why not."""

import hashlib
import json
import pathlib
import re
import shlex

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_world
import torch_files
import torch_weights

from conversions import convert
from conversions import verify
from conversions.files import source
from conversions.files import tensors
from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import converted_model
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import terminal
from hermesflow_jax.training import adamw
from hermesflow_jax.training import train_step

NAMES = {
  'showo': 'showo',
  'with_clip': 'showo',
  'magvitv2': 'magvitv2',
  'clip_vision': 'clip_vision',
}
DTYPES = {str(d): d for d in tensors.FLOATS}


@pytest.fixture
def run(capsys):
  """Runs the command: (exit code, standard error)."""

  def call(*arguments):
    code = convert.main([str(a) for a in arguments], terminal.silent())
    return code, capsys.readouterr().err

  return call


def folder_of(path, name, dtype=np.float32, **changes):
  """A checkpoint of strangers, with some tensors changed (None: removed)."""
  state = torch_weights.arrays(name, dtype) | changes
  state = {k: v for k, v in state.items() if v is not None}
  return torch_weights.write(path, state, torch_weights.config(name))


def bits(path):
  """{name: (dtype, shape, bytes)} of a checkpoint of strangers."""
  return {
    name: (t.dtype, t.shape, t.read().tobytes())
    for name, t in source.find(str(path)).tensors.items()
  }


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('name', NAMES)
def test_there_and_back_is_the_identity(run, tmp_path, name, dtype):
  src = folder_of(tmp_path / 'src', name, DTYPES[dtype])
  kind = NAMES[name]
  assert run(kind, src, tmp_path / 'ours') == (0, '')
  assert run(kind, tmp_path / 'ours', tmp_path / 'back', '--reverse')[0] == 0
  assert bits(tmp_path / 'back') == bits(src)
  assert json.loads((tmp_path / 'back' / 'config.json').read_text()) == (
    torch_weights.config(name)
    | ({'torch_dtype': dtype} if name == 'clip_vision' else {})
  )


@pytest.mark.parametrize(
  'kind, folder', [('showo', 'showo_small'), ('magvitv2', 'magvit_small')]
)
def test_the_goldens_come_back(run, goldens, tmp_path, kind, folder):
  src = goldens / folder
  assert run(kind, src, tmp_path / 'ours')[0] == 0
  assert run(kind, tmp_path / 'ours', tmp_path / 'back', '--reverse')[0] == 0
  assert bits(tmp_path / 'back') == bits(src)
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
  assert bits(tmp_path / 'back') == bits(folder_of(tmp_path / 'whole', 'showo'))


@pytest.fixture(scope='module')
def converted(tmp_path_factory):
  """A converted Show-o and where it came from."""
  root = tmp_path_factory.mktemp('converted')
  src = folder_of(root / 'src', 'showo', tensors.BFLOAT16)
  assert (
    convert.main(['showo', str(src), str(root / 'ours')], terminal.silent())
    == 0
  )
  return src, root / 'ours'


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
  found = converted_model.restore_model(str(converted[1]), record, mesh)
  wanted = torch_weights.model('showo')
  for (path, a), b in zip(
    jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(wanted)
  ):
    np.testing.assert_array_equal(
      a, b.astype(tensors.BFLOAT16).astype(np.float32)
    )
    spec = sharding.partition_spec(sharding.path_name(path), a.shape, mesh)
    assert a.sharding.is_equivalent_to(
      jax.sharding.NamedSharding(mesh, spec), a.ndim
    )


def test_another_kind_is_refused(converted):
  with pytest.raises(ValueError, match='of kind showo, wanted magvitv2'):
    converted_model.read_record(str(converted[1]), 'magvitv2')


def test_every_fault_is_named_at_once(run, tmp_path):
  state = torch_weights.arrays('showo')
  layer = 'showo.model.layers.1.'
  broken = state['showo.lm_head.bias'].copy()
  broken[3] = np.nan
  src = folder_of(
    tmp_path / 'src',
    'showo',
    **{
      f'{layer}mlp.fc1.bias': None,
      f'{layer}mlp.fc2.weight': state[f'{layer}mlp.fc2.weight'].T,
      f'{layer}self_attn.dense.bias': np.zeros(32, np.float16),
      f'{layer}self_attn.rotary.frequencies': np.zeros(4, np.float32),
      'showo.model.final_layernorm.bias': np.zeros(32, np.int64),
      'showo.lm_head.bias': broken,
    },
  )
  code, said = run('showo', src, tmp_path / 'ours')
  assert code == 2
  for fault in (
    f'missing {layer}mlp.fc1.bias (24,)',
    f'{layer}mlp.fc2.weight: found shape (24, 32), wanted (32, 24)',
    f'{layer}self_attn.dense.bias: found dtype float16, wanted float32',
    f'surplus {layer}self_attn.rotary.frequencies (4,)',
    'final_layernorm.bias: found dtype int64, wanted float32',
    'lm_head.bias: found values that are not finite',
    ' 6 faults',
  ):
    assert fault in said
  assert [p.name for p in tmp_path.iterdir()] == ['src']


def test_faults_of_tensors_are_told_with_sizes_that_do_not_fit(run, tmp_path):
  """Which tensors are wrong does not rest on what the sizes are."""
  layer = 'showo.model.layers.1.'
  state = torch_weights.arrays('showo')
  broken = state['showo.lm_head.bias'].copy()
  broken[3] = np.inf
  src = folder_of(
    tmp_path / 'src',
    'showo',
    **{
      # Sizes are read off this one.
      'showo.model.embed_tokens.weight': np.zeros((3, 32), np.float32),
      f'{layer}mlp.fc1.bias': None,
      f'{layer}self_attn.rotary.frequencies': np.zeros(4, np.float32),
      'showo.model.final_layernorm.bias': np.zeros(32, np.int64),
      'showo.lm_head.bias': broken,
    },
  )
  code, said = run('showo', src, tmp_path / 'ours')
  assert code == 2
  for fault in (
    'the vocabulary has 39 tokens, the embedding 3',
    f'missing {layer}mlp.fc1.bias',
    f'surplus {layer}self_attn.rotary.frequencies (4,)',
    'final_layernorm.bias: found dtype int64, wanted float32',
    'lm_head.bias: found values that are not finite',
    ' 5 faults',
  ):
    assert fault in said
  assert [p.name for p in tmp_path.iterdir()] == ['src']


@pytest.mark.parametrize('name', NAMES)
def test_names_of_another_form_are_all_told(run, tmp_path, name):
  state = torch_weights.arrays(name)
  state = {f'module.{k}': v for k, v in state.items()}
  src = torch_weights.write(tmp_path / 'src', state, torch_weights.config(name))
  code, said = run(NAMES[name], src, tmp_path / 'ours')
  assert code == 2
  assert all(f'surplus {k} ' in said for k in state)
  first = {
    'magvitv2': 'encoder.conv_in.weight',
    'clip_vision': 'vision_model.embeddings.class_embedding',
  }.get(name, 'showo.lm_head.bias')
  assert f'missing {first}' in said


@pytest.mark.parametrize(
  'name, dtype',
  [
    ('quantize.power_vals', np.int32),
    ('quantize.power_vals', np.float32),
    ('quantize.embedding', np.float16),
    ('quantize.embedding', np.int64),
  ],
)
def test_a_constant_of_another_type_is_refused(run, tmp_path, name, dtype):
  """Its value would come back, its bits would not."""
  changed = torch_weights.arrays('magvitv2')[name].astype(dtype)
  src = folder_of(tmp_path / 'src', 'magvitv2', **{name: changed})
  code, said = run('magvitv2', src, tmp_path / 'ours')
  assert code == 2 and f'{name}: found dtype {changed.dtype}, wanted' in said


@pytest.mark.parametrize(
  'changes, said',
  [
    ({'max_text_len': 0}, 'max_text_len is 0, wanted at least 2'),
    ({'codebook_size': None}, 'codebook_size is missing'),
    ({'llm_vocab_size': 'x'}, "llm_vocab_size is 'x', wanted a number"),
    ({'vocab_size': 99}, 'vocab_size is 99, wanted 39'),
    (
      {'special_token_ids': {'<|soi|>': 3, '<|eot|>': 19}},
      '<|soi|> is 3, wanted 21',
    ),
    ({'special_token_ids': {'<|eot|>': 50}}, '<|eot|> is 50, wanted a text'),
    ({'num_attention_heads': 8}, 'num_attention_heads is 8, wanted 4'),
    ({'num_hidden_layers': 2}, 'num_hidden_layers is 2, wanted 3'),
    ({'w_clip_vit': True}, 'w_clip_vit is True, wanted False'),
    ({'hidden_act': 'relu'}, "hidden_act is 'relu', wanted 'gelu_new'"),
    ({'num_vq_tokens': -4}, 'num_vq_tokens is -4'),
    ({'rope_theta': 0}, 'rope_theta must be more than 0, got 0.0'),
    (
      {'vocab_size': None, 'llm_vocab_size': 10**18, 'mask_token_id': None},
      'the embedding 39',
    ),
  ],
)
def test_a_config_that_does_not_fit_is_refused(run, tmp_path, changes, said):
  record = torch_weights.config('showo') | changes
  record = {k: v for k, v in record.items() if v is not None}
  src = torch_weights.write(
    tmp_path / 'src', torch_weights.arrays('showo'), record
  )
  code, found = run('showo', src, tmp_path / 'ours')
  assert code == 2 and said in found
  assert [p.name for p in tmp_path.iterdir()] == ['src']


@pytest.mark.parametrize(
  'changes, said',
  [
    # 2^40 codes are not made to see that they are not there.
    (
      {'encoder.quant_conv.weight': np.zeros((40, 3, 1, 1), np.float32)},
      'quantize.embedding has 8 rows, wanted 2^40',
    ),
    (
      {'encoder.conv_in.weight': np.zeros((0, 3, 3, 3), np.float32)},
      'conv_in.weight: found shape (0, 3, 3, 3)',
    ),
    (
      {'encoder.conv_in.weight': np.zeros((3, 3), np.float32)},
      'conv_in.weight: found shape (3, 3), wanted 4 axes',
    ),
    (
      {'encoder.conv_in.weight': np.zeros((4000, 3, 3, 3), np.float32)},
      'ch is 8, wanted 4000',
    ),
    ({'encoder.conv_in.weight': None}, 'missing encoder.conv_in.weight'),
    ({'quantize.power_vals': np.array([1, 2, 4])}, 'power_vals: differs'),
    (
      {'decoder.up.1.block.0.conv1.weight': None},
      'missing decoder.up.1.block.0.conv1.weight',
    ),
  ],
)
def test_a_tokenizer_whose_sizes_lie_is_refused(run, tmp_path, changes, said):
  src = folder_of(tmp_path / 'src', 'magvitv2', **changes)
  code, found = run('magvitv2', src, tmp_path / 'ours')
  assert code == 2 and said in found
  assert [p.name for p in tmp_path.iterdir()] == ['src']


def test_without_a_config_it_says_what_is_wanted(run, tmp_path):
  src = folder_of(tmp_path / 'src', 'showo')
  (src / 'config.json').unlink()
  code, said = run('showo', src, tmp_path / 'ours')
  assert code == 2
  assert 'there is no config.json: llm_vocab_size is missing' in said


def test_what_is_there_is_kept_unless_told_otherwise(run, converted, tmp_path):
  src, _ = converted
  assert run('showo', src, tmp_path / 'ours')[0] == 0
  file = tmp_path / 'ours' / '_CHECKPOINT_METADATA'
  before = file.read_bytes()
  code, said = run('showo', src, tmp_path / 'ours')
  assert code == 2 and 'exists; --overwrite replaces it' in said
  assert file.read_bytes() == before
  other = folder_of(tmp_path / 'other', 'with_clip')
  assert run('showo', other, tmp_path / 'ours', '--overwrite')[0] == 0
  assert (
    converted_model.read_record(str(tmp_path / 'ours'), 'showo').sizes
    == torch_weights.WITH_CLIP
  )


def test_a_failed_overwrite_keeps_what_was_there(run, converted, tmp_path):
  src, _ = converted
  assert run('showo', src, tmp_path / 'ours')[0] == 0
  bad = folder_of(tmp_path / 'bad', 'showo', **{'showo.lm_head.bias': None})
  assert run('showo', bad, tmp_path / 'ours', '--overwrite')[0] == 2
  assert converted_model.read_record(
    str(tmp_path / 'ours'), 'showo'
  ).source == str(src)
  assert sorted(p.name for p in tmp_path.iterdir()) == ['bad', 'ours']


@pytest.fixture(params=['files', 'pytorch', 'trained', 'file'])
def theirs(request, tmp_path):
  """Something that none of these commands made."""
  path = tmp_path / 'mine'
  if request.param == 'files':
    path.mkdir()
    (path / 'thesis.txt').write_text('kept')
  elif request.param == 'pytorch':
    folder_of(path, 'showo')
  elif request.param == 'trained':
    checkpoint.save(str(path), {'a': jnp.zeros(3)}, {'seconds': 1.0})
  else:
    path.write_text('kept')
  return path


@pytest.mark.parametrize('reverse', [False, True])
def test_nobodys_other_files_are_replaced(run, converted, theirs, reverse):
  src, ours = converted
  before = theirs.stat().st_ino
  arguments = ['showo', ours if reverse else src, theirs, '--overwrite']
  code, said = run(*arguments, *(['--reverse'] if reverse else []))
  assert code == 2 and 'is not of this command' in said
  assert theirs.stat().st_ino == before


def test_a_checkpoint_that_is_not_there_is_named(run, tmp_path):
  arguments = ['showo', tmp_path / 'ours', tmp_path / 'back', '--reverse']
  code, said = run(*arguments)
  wanted = f'error: no checkpoint or bundle at {arguments[1]}\n'
  assert (code, said) == (2, wanted)
  assert not (tmp_path / 'back').exists()


def test_what_was_written_back_may_be_written_again(run, converted, tmp_path):
  command = ['showo', converted[1], tmp_path / 'back', '--reverse']
  assert run(*command)[0] == 0
  code, said = run(*command)
  assert code == 2 and '--overwrite replaces it' in said
  assert run(*command, '--overwrite', '--dtype', 'float32')[0] == 0
  assert {t[0] for t in bits(tmp_path / 'back').values()} == {
    np.dtype(np.float32)
  }


def test_an_interrupt_leaves_nothing(converted, tmp_path, monkeypatch):
  def stop(*args):
    raise KeyboardInterrupt

  monkeypatch.setattr(checkpoint, 'save', stop)
  with pytest.raises(KeyboardInterrupt):
    convert.main(
      ['showo', str(converted[0]), str(tmp_path / 'x')], terminal.silent()
    )
  assert not any(tmp_path.iterdir())


@pytest.mark.parametrize('prefix', ['', 'model'])
def test_a_trained_checkpoint_goes_back(run, converted, tmp_path, prefix):
  trained = torch_weights.model('showo', seed=5)
  tree = jax.tree.map(jnp.asarray, trained)
  if prefix:
    optim = adamw.AdamWConfig(lr=1e-3, steps=3)
    tree = train_step.start_state(tree, optim, tiny.mesh(2, 2))
  checkpoint.save(str(tmp_path / 'run' / '3'), tree, {'seconds': 1.0})
  command = ('showo', tmp_path / 'run' / '3', tmp_path / 'back', '--reverse')
  code, said = run(*command)
  assert code == 2 and 'does not say its sizes' in said
  assert run(*command, '--sizes', converted[1])[0] == 0
  state = {k: v[2] for k, v in bits(tmp_path / 'back').items()}
  wanted = convert.entries_of('showo', trained)
  assert state.keys() == wanted.keys()
  for name, entry in wanted.items():
    assert state[name] == entry.make().astype(np.float32).tobytes()


def test_a_bundle_goes_back_and_comes_again(run, tmp_path):
  base = tiny_world.bundle(tmp_path / 'base')
  assert run('showo', base, tmp_path / 'back', '--reverse')[0] == 0
  assert run('showo', tmp_path / 'back', tmp_path / 'ours')[0] == 0
  model, record = convert.ours('showo', str(base), None)
  again, found = convert.ours('showo', str(tmp_path / 'ours'), None)
  assert (
    converted_model.ConversionRecord.meta(found)['converted']['sizes']
    == (record.meta()['converted']['sizes'])
  )
  for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(model)):
    np.testing.assert_array_equal(a, b)


def test_a_tokenizer_that_pytorch_has_not_is_not_written(run, tmp_path):
  base = tiny_world.bundle(tmp_path / 'base')
  code, said = run('magvitv2', base, tmp_path / 'back', '--reverse')
  assert code == 2 and 'folds no pixels' in said
  assert not (tmp_path / 'back').exists()


def test_flags_that_mean_nothing_are_refused(run, converted, tmp_path):
  code, said = run('showo', converted[0], tmp_path / 'x', '--dtype', 'bfloat16')
  assert code == 2 and '--sizes and --dtype go with --reverse' in said
  code, said = run('phi', converted[1], tmp_path / 'x', '--reverse')
  assert code == 2 and 'use KIND showo' in said


def test_nothing_is_converted_from_nothing(run, tmp_path):
  code, said = run('showo', tmp_path / 'nowhere', tmp_path / 'x')
  assert code == 2 and 'no file or folder' in said
  assert not any(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['README.md', 'docs/conversion.md'])
def test_the_commands_that_people_are_told_can_be_read(name):
  root = pathlib.Path(__file__).parents[2]
  found = re.findall(
    r'^python -m conversions\.(convert|verify) (.*)$',
    (root / name).read_text(),
    re.MULTILINE,
  )
  assert len(found) >= 3
  for command, arguments in found:
    parser = {'convert': convert, 'verify': verify}[command].command_line()
    # Optional flags stand in brackets, KIND for any of them.
    plain = re.sub(r'\[.*?\]', '', arguments).replace('KIND', 'showo')
    assert parser.parse_args(shlex.split(plain)).kind in convert.KINDS
