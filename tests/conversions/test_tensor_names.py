"""Names and dtypes of training programs are taken where they are clear."""

import conversion_files
import numpy as np
import pytest
import torch_weights

from conversions import convert
from conversions.files import tensors
from hermesflow_jax.checkpoints import converted_model
from hermesflow_jax.runtime import terminal


@pytest.fixture(scope='module')
def states():
  return {name: torch_weights.arrays(name) for name in conversion_files.NAMES}


def written(path, state, name='showo'):
  return torch_weights.write(path, state, torch_weights.config(name))


@pytest.fixture
def lines_of(tmp_path):
  """Converts tensors there and back: (what is said, bits that come back)."""

  def call(state, name='showo'):
    lines = []
    console = terminal.Console(lines.append, terminal.silent().progress)
    kind = conversion_files.NAMES[name]
    src = written(tmp_path / 'src', state, name)
    for arguments in (
      [kind, src, tmp_path / 'ours'],
      [kind, tmp_path / 'ours', tmp_path / 'back', '--reverse'],
    ):
      assert convert.main([str(a) for a in arguments], console) == 0
    return lines, conversion_files.bits(tmp_path / 'back')

  return call


def bits_of(state):
  return {n: (a.dtype, a.shape, a.tobytes()) for n, a in state.items()}


@pytest.mark.parametrize(
  'name, prefix',
  [
    ('showo', 'module.'),
    ('with_clip', '_orig_mod.'),
    ('magvitv2', 'module._orig_mod.'),
    ('clip_vision', '_fsdp_wrapped_module.'),
    ('showo', 'base_model.model.'),
    ('magvitv2', 'vq_model.'),
  ],
)
def test_a_prefix_of_all_names_is_removed(states, lines_of, name, prefix):
  state = states[name]
  lines, back = lines_of({prefix + n: a for n, a in state.items()}, name)
  assert back == bits_of(state)
  said = [line for line in lines if line.startswith('names of tensors')]
  assert len(said) == 1 and prefix.split('.')[0] in said[0]


@pytest.mark.parametrize('part', ['_orig_mod', '_checkpoint_wrapped_module'])
def test_wrappers_within_names_are_removed(states, lines_of, part):
  state = states['showo']
  renamed = {n.replace('.mlp.', f'.{part}.mlp.'): a for n, a in state.items()}
  assert lines_of(renamed)[1] == bits_of(state)


@pytest.mark.parametrize(
  'name, outer', [('showo', 'showo.'), ('clip_vision', 'vision_model.')]
)
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_an_inner_model_is_taken(states, lines_of, name, outer, prefix):
  state = states[name]
  inner = {prefix + n.removeprefix(outer): a for n, a in state.items()}
  lines, back = lines_of(inner, name)
  assert back == bits_of(state)
  assert any(f'with {outer!r} before them' in line for line in lines)


def test_plain_names_are_not_mentioned(states, lines_of):
  lines, _ = lines_of(states['showo'])
  assert not [s for s in lines if s.startswith(('names', 'dtypes'))]


@pytest.mark.parametrize(
  'name, kind, output',
  [
    ('showo', 'magvitv2', 'KIND must be showo for these tensors, got magvitv2'),
    ('showo', 'phi', 'KIND must be showo for these tensors, got phi'),
    ('magvitv2', 'showo', 'KIND must be magvitv2 for these tensors'),
    ('clip_vision', 'magvitv2', 'KIND must be clip_vision for these tensors'),
  ],
)
def test_another_kind_is_named(run, states, tmp_path, name, kind, output):
  src = written(tmp_path / 'src', states[name], name)
  code, actual = run(kind, src, tmp_path / 'ours')
  assert code == 2 and output in actual and actual.count('\n') == 1


def test_a_plain_phi_is_no_show_o(run, states, tmp_path):
  state = {
    n.removeprefix('showo.'): a
    for n, a in states['showo'].items()
    if '_layernorm.' not in n or 'self_attn' not in n
  }
  code, output = run('showo', written(tmp_path / 'src', state), tmp_path / 'x')
  assert code == 2 and 'KIND must be phi for these tensors' in output


def test_several_models_are_named(run, states, tmp_path):
  state = {
    prefix + name: array
    for name, array in states['showo'].items()
    for prefix in ('model.', 'ema.')
  }
  code, output = run('showo', written(tmp_path / 'src', state), tmp_path / 'x')
  assert code == 2 and output.count('\n') == 1
  assert "59 tensors in 'model.', 59 tensors in 'ema.'" in output


def test_names_that_would_be_equal_are_refused(run, states, tmp_path):
  name = 'showo.lm_head.bias'
  state = states['showo'] | {f'_orig_mod.{name}': states['showo'][name]}
  code, output = run('showo', written(tmp_path / 'src', state), tmp_path / 'x')
  assert code == 2 and f'{name!r} is there twice' in output


def test_unmerged_adapters_name_the_way_on(run, states, tmp_path):
  name = 'base_model.model.showo.model.layers.0.mlp.fc1.lora_A.default.weight'
  state = states['showo'] | {name: np.zeros((2, 32), np.float32)}
  code, output = run('showo', written(tmp_path / 'src', state), tmp_path / 'x')
  assert code == 2 and 'merge_and_unload' in output and 'KIND lora' in output


@pytest.mark.parametrize('dtype', [np.float32, tensors.BFLOAT16])
def test_rotary_frequencies_are_not_needed(
  run, states, lines_of, tmp_path, dtype
):
  """Earlier releases of transformers save them, in float32."""
  name = 'showo.model.layers.{}.self_attn.rotary_emb.inv_freq'
  expected = (10_000.0 ** (-np.arange(2) / 2)).astype(np.float32)
  weights = {n: a.astype(dtype) for n, a in states['showo'].items()}
  state = weights | {name.format(i): expected for i in range(3)}
  lines, back = lines_of(state)
  assert back == bits_of(weights)
  assert any('3 tensors rotary_emb.inv_freq are not read' in s for s in lines)
  state[name.format(1)] = 2 * expected
  src = written(tmp_path / 'other', state)
  code, output = run('showo', src, tmp_path / 'x')
  assert code == 2 and f'surplus {name.format(1)} (2,)' in output


def test_norms_in_float32_are_taken(states, lines_of, tmp_path):
  """They come back in float32, which changes no value."""
  state = {
    n: a if 'norm' in n else a.astype(tensors.BFLOAT16)
    for n, a in states['showo'].items()
  }
  lines, back = lines_of(state)
  assert back == bits_of({n: a.astype(np.float32) for n, a in state.items()})
  (line,) = [line for line in lines if line.startswith('dtypes')]
  assert line.startswith('dtypes of tensors: 39 bfloat16, 20 float32; all ')
  record = converted_model.read_record(str(tmp_path / 'ours'), 'showo')
  assert record.dtype == 'float32'


def test_float64_is_rounded(states, lines_of):
  state = {n: a.astype(np.float64) * 1.1 for n, a in states['showo'].items()}
  lines, back = lines_of(state)
  assert back == bits_of({n: a.astype(np.float32) for n, a in state.items()})
  assert any('59 float64; all become float32 (float64 is' in s for s in lines)


def test_float64_beyond_float32_is_refused(run, states, tmp_path):
  name = 'showo.lm_head.bias'
  state = states['showo'] | {name: states['showo'][name].astype(np.float64)}
  state[name][3] = 1e300
  code, output = run('showo', written(tmp_path / 'src', state), tmp_path / 'x')
  assert code == 2 and f'{name}: values must be finite' in output


def test_quantized_weights_name_the_way_on(run, states, tmp_path):
  name = 'showo.lm_head.weight'
  state = states['showo'] | {name: states['showo'][name].astype(np.int8)}
  code, output = run('showo', written(tmp_path / 'src', state), tmp_path / 'x')
  assert code == 2
  assert f'{name}: dtype must be float32, got int8; quantized' in output


@pytest.mark.parametrize(
  'name, dtype',
  [
    ('quantize.power_vals', np.int32),
    ('quantize.power_vals', np.float32),
    ('quantize.embedding', np.float16),
    ('quantize.embedding', np.int64),
  ],
)
def test_a_constant_may_have_any_dtype(run, states, lines_of, name, dtype):
  """Its value decides; it goes back in the official dtype."""
  state = states['magvitv2']
  lines, back = lines_of(state | {name: state[name].astype(dtype)}, 'magvitv2')
  assert back == bits_of(state)
  assert any('dtype' in line for line in lines) or dtype == np.int64
