"""LoRA adapters of PEFT come in, and ours go out, exactly."""

import json

import jax
import numpy as np
import peft_files
import pytest
import tiny
import torch_files
import torch_weights

from conversions import convert
from conversions import to_peft
from conversions import to_pytorch
from conversions.files import safetensors_file
from conversions.files import tensors
from conversions.tables import showo_table
from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import lora_checkpoint
from hermesflow_jax.models import lora
from hermesflow_jax.runtime import terminal


@pytest.fixture(scope='module')
def base(converted):
  """(folder, model) that adapters belong to."""
  folder = converted[1].parent / 'float32'
  src = torch_weights.write(
    converted[1].parent / 'float32_src',
    torch_weights.arrays('showo'),
    torch_weights.config('showo'),
  )
  assert convert.main(['showo', str(src), str(folder)], terminal.silent()) == 0
  return folder, to_pytorch.load_jax_model('showo', str(folder), None)[0]


@pytest.fixture
def convert_peft(run, base, tmp_path):
  """Converts a PEFT folder: (exit code, standard error)."""

  def call(src, *flags):
    return run('lora', src, tmp_path / 'ours', '--base', base[0], *flags)

  return call


def restored(path, model):
  return lora_checkpoint.read_adapters(str(path), model, tiny.mesh(1, 1))


def tensors_of(folder):
  read = safetensors_file.read(folder / 'adapter_model.safetensors')
  return {name: tensor.read() for name, tensor in read.items()}


def test_adapters_do_what_peft_does(convert_peft, base, tmp_path):
  """W + alpha / r B A, as PEFT merges them."""
  state = peft_files.tensors()
  src = peft_files.write(tmp_path / 'peft', state)
  assert convert_peft(src) == (0, '')
  adapters, config = restored(tmp_path / 'ours', base[1])
  assert config == lora.Lora(3, 16.0, ('q_proj', 'fc2'))
  actual = lora.merge(base[1], adapters, config=config)
  expected = peft_files.merged(state, 16 / 3)
  for name, array in showo_table.to_torch(actual).items():
    np.testing.assert_allclose(array, expected[name], atol=2e-5)


def test_adapters_come_back_bit_for_bit(run, convert_peft, tmp_path):
  state = peft_files.tensors()
  assert convert_peft(peft_files.write(tmp_path / 'peft', state))[0] == 0
  code, _ = run('lora', tmp_path / 'ours', tmp_path / 'back', '--reverse')
  assert code == 0
  actual = tensors_of(tmp_path / 'back')
  assert {n: a.tobytes() for n, a in actual.items()} == {
    n: a.tobytes() for n, a in state.items()
  }
  record = json.loads((tmp_path / 'back' / 'adapter_config.json').read_text())
  for name in ('peft_type', 'r', 'lora_alpha', 'target_modules', 'bias'):
    assert record[name] == peft_files.CONFIG[name]
  # Every value is one that PEFT knows.
  assert record.keys() <= peft_files.CONFIG.keys()


def test_trained_adapters_of_a_run_go_out_and_come_in(
  convert_peft, base, tmp_path
):
  config = lora.Lora(2, 2.5, ('k_proj', 'v_proj', 'dense', 'fc1'))
  key = jax.random.key(0)
  adapters = jax.tree.map(
    lambda a: a + jax.random.normal(key, a.shape),
    lora.init_adapters(base[1], config, key),
  )
  newest = jax.tree.map(lambda a: 2 * a, adapters)
  for number, saved in ((2, adapters), (10, newest)):
    path = tmp_path / 'run' / f'round_{number}' / 'training' / 'adapters'
    lora_checkpoint.save_adapters(str(path), saved, config, base[1])
  lines = []
  console = terminal.Console(lines.append, terminal.silent().progress)
  arguments = ['lora', str(tmp_path / 'run'), str(tmp_path / 'out')]
  assert convert.main([*arguments, '--reverse'], console) == 0
  assert lines[0].endswith(
    'taking round_10/training/adapters, which belong to the model checkpoints/9'
  )
  assert convert_peft(tmp_path / 'out')[0] == 0
  actual, kind = restored(tmp_path / 'ours', base[1])
  assert kind == config
  jax.tree.map(np.testing.assert_array_equal, actual, dict(newest))


@pytest.mark.parametrize(
  'rename',
  [
    lambda n: n.replace('.showo', ''),
    lambda n: n.replace('.weight', '.default.weight'),
    lambda n: n.removeprefix('base_model.model.'),
    lambda n: f'module.{n}',
  ],
)
def test_adapters_come_in_under_all_names_of_peft(
  convert_peft, base, tmp_path, rename
):
  state = peft_files.tensors()
  named = {rename(name): array for name, array in state.items()}
  assert convert_peft(peft_files.write(tmp_path / 'peft', named))[0] == 0
  adapters, _ = restored(tmp_path / 'ours', base[1])
  assert to_peft.state_dict(adapters).keys() == state.keys()


@pytest.mark.parametrize('dtype', [tensors.BFLOAT16, np.float16, np.float64])
def test_adapters_of_other_dtypes_come_in(convert_peft, base, tmp_path, dtype):
  state = {n: a.astype(dtype) for n, a in peft_files.tensors().items()}
  assert convert_peft(peft_files.write(tmp_path / 'peft', state))[0] == 0
  adapters, _ = restored(tmp_path / 'ours', base[1])
  for name, array in to_peft.state_dict(adapters).items():
    np.testing.assert_array_equal(array, state[name].astype(np.float32))


def test_a_pickle_and_a_single_file_come_in(convert_peft, base, tmp_path):
  src = peft_files.write(tmp_path / 'peft')
  (src / 'adapter_model.safetensors').unlink()
  torch_files.save(src / 'adapter_model.bin', peft_files.tensors())
  assert convert_peft(src)[0] == 0
  assert convert_peft(src / 'adapter_model.bin', '--overwrite')[0] == 0


def test_layers_without_adapters_get_zeros(convert_peft, base, tmp_path):
  state = peft_files.tensors(layers=2)
  assert convert_peft(peft_files.write(tmp_path / 'peft', state))[0] == 0
  adapters, _ = restored(tmp_path / 'ours', base[1])
  assert not np.any(adapters['fc2']['b'][2])
  assert np.all(adapters['fc2']['b'][1])


def test_the_scale_of_rslora_is_that_of_peft(convert_peft, base, tmp_path):
  src = peft_files.write(tmp_path / 'peft', use_rslora=True)
  assert convert_peft(src)[0] == 0
  _, config = restored(tmp_path / 'ours', base[1])
  assert config.scale == pytest.approx(16 / 3**0.5)


@pytest.mark.parametrize(
  'changes, output',
  [
    ({'use_dora': True}, 'use_dora must be empty, got True'),
    ({'bias': 'all'}, "bias must be 'none', got 'all'"),
    ({'modules_to_save': ['lm_head']}, "must be empty, got ['lm_head']"),
    ({'rank_pattern': {'fc1': 8}}, "rank_pattern must be empty, got {'fc1'"),
    ({'init_lora_weights': 'pissa_niter_4'}, "got 'pissa_niter_4'"),
    ({'peft_type': 'IA3'}, "peft_type must be LORA, got 'IA3'"),
    ({'r': 0}, 'r must be at least 1, got 0'),
    ({'lora_alpha': 'x'}, "lora_alpha must be more than 0, got 'x'"),
  ],
)
def test_adapters_without_a_form_here_name_a_way(
  convert_peft, tmp_path, changes, output
):
  src = peft_files.write(tmp_path / 'peft', **changes)
  code, actual = convert_peft(src)
  assert code == 2 and output in actual and actual.count('\n') == 1
  assert 'merge_and_unload' in actual
  assert [path.name for path in tmp_path.iterdir()] == ['peft']


def test_all_faults_of_tensors_are_told(convert_peft, tmp_path):
  state = peft_files.tensors()
  first = f'{peft_files.PREFIX}0.mlp.fc2.lora_'
  state[f'{first}A.weight'] = state[f'{first}A.weight'].T
  del state[f'{peft_files.PREFIX}1.mlp.fc2.lora_B.weight']
  state['base_model.model.showo.lm_head.lora_A.weight'] = np.zeros(
    (3, 32), np.float32
  )
  state[f'{peft_files.PREFIX}7.mlp.fc2.lora_A.weight'] = np.zeros(
    (3, 24), np.float32
  )
  state[f'{peft_files.PREFIX}2.mlp.fc2.lora_B.weight'][0, 0] = np.nan
  code, output = convert_peft(peft_files.write(tmp_path / 'peft', state))
  assert code == 2
  for fault in (
    f'{first}A.weight: shape must be (3, 24), got (24, 3)',
    'missing base_model.model.showo.model.layers.1.mlp.fc2.lora_B.weight',
    'surplus base_model.model.showo.lm_head.lora_A.weight (3, 32)',
    'surplus base_model.model.showo.model.layers.7.mlp.fc2.lora_A.weight',
    'layers.2.mlp.fc2.lora_B.weight: values must be finite',
  ):
    assert fault in output


def test_adapters_need_their_model(run, base, tmp_path):
  src = peft_files.write(tmp_path / 'peft')
  code, output = run('lora', src, tmp_path / 'ours')
  assert code == 2 and '--base must be the model' in output
  code, output = run('showo', src, tmp_path / 'ours', '--base', base[0])
  assert code == 2 and '--base requires KIND lora' in output
  code, output = run('showo', src, tmp_path / 'ours')
  assert code == 2 and 'convert it with KIND lora and --base' in output


def test_a_shipped_model_may_be_the_base(run, tmp_path):
  src = peft_files.write(tmp_path / 'peft')
  code, output = run('lora', src, tmp_path / 'x', '--base', 'assets:shapes')
  assert code == 2 and 'shape must be (3, 128), got (3, 32)' in output


def test_pytorch_weights_are_no_base(run, converted, tmp_path):
  src = peft_files.write(tmp_path / 'peft')
  code, output = run('lora', src, tmp_path / 'x', '--base', converted[0])
  assert code == 2 and 'got PyTorch weights: convert them by' in output


def test_a_folder_without_adapters_is_refused(run, convert_peft, tmp_path):
  (tmp_path / 'empty').mkdir()
  code, output = convert_peft(tmp_path / 'empty')
  assert code == 2 and 'must be a PEFT folder' in output
  code, output = run('lora', tmp_path / 'empty', tmp_path / 'x', '--reverse')
  assert code == 2 and 'must hold adapters' in output


@pytest.mark.parametrize('reverse', [False, True])
def test_only_adapters_that_were_converted_are_replaced(
  run, convert_peft, base, tmp_path, reverse
):
  src = peft_files.write(tmp_path / 'peft')
  config = lora.Lora(1, 1.0, ('q_proj',))
  trained = lora.init_adapters(base[1], config, jax.random.key(0))
  if reverse:
    lora_checkpoint.save_adapters(str(tmp_path / 'a'), trained, config, base[1])
    code, output = run('lora', tmp_path / 'a', src, '--reverse', '--overwrite')
  else:
    lora_checkpoint.save_adapters(
      str(tmp_path / 'ours'), trained, config, base[1]
    )
    code, output = convert_peft(src, '--overwrite')
  assert code == 2 and 'was not written by this command' in output
  for _ in range(2):
    folder = tmp_path / 'new'
    flags = ['--reverse'] if reverse else ['--base', base[0]]
    code, output = run(
      'lora', tmp_path / 'a' if reverse else src, folder, *flags, '--overwrite'
    )
    assert (code, output) == (0, '')
  assert checkpoint.is_checkpoint(str(tmp_path / 'new')) != reverse
