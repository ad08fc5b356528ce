"""The verifier passes what is right, and nothing that is not."""

import json
import math

import numpy as np
import pytest
import safetensors.numpy
import torch_weights

from conversions import convert
from conversions import verify
from conversions.verification import showo_checks
from conversions.verification import vision_checks
from hermesflow_jax.runtime import terminal

SHOW_O_KEYS = ('t2i_win_ids', 't2i_win_logits')
MAGVIT_KEYS = ('pixels_0', 'z_0', 'recon_0', 'indices_0')


@pytest.fixture
def run(tmp_path):
  """Runs the command on a dictionary: (exit code, lines)."""

  def call(kind, checkpoint, arrays, *flags):
    path = tmp_path / 'io.npz'
    np.savez(path, **arrays)
    lines = []
    said = terminal.Console(lines.append, terminal.silent().progress)
    code = verify.main([kind, str(checkpoint), str(path), *flags], said)
    return code, lines

  return call


def arrays_of(folder, keys=None):
  with np.load(folder / 'io.npz') as file:
    return {k: file[k] for k in (keys or file.files)}


def failures(lines):
  return {
    line.split()[1].rstrip(':') for line in lines if line.startswith('FAILED')
  }


@pytest.mark.parametrize(
  'kind, name, count',
  [('showo', 'showo_small', 42), ('magvitv2', 'magvit_small', 10)],
)
def test_the_goldens_pass(run, goldens, tmp_path, kind, name, count):
  folder = goldens / name
  assert (
    convert.main([kind, str(folder), str(tmp_path / 'ours')], terminal.silent())
    == 0
  )
  flags = ['--reference', str(folder / 'reference_model.safetensors')]
  code, lines = run(
    kind,
    tmp_path / 'ours',
    arrays_of(folder),
    *(flags if kind == 'showo' else []),
  )
  assert (code, lines[-1]) == (0, f'{count} passed, 0 failed'), lines
  assert all(line.startswith('ok') for line in lines[:-1])


def test_every_key_of_the_goldens_readme_is_known(goldens):
  """No line says that a key is unknown."""
  text = (goldens / 'README.md').read_text()
  for name in (
    'quantizer_loss_i',
    'mmu_gen_tokens',
    'inpaint_keep',
    'grad_global_norm',
    't2i_text_lengths',
  ):
    assert f'`{name}`' in text
  for kind, name in (('showo', 'showo_small'), ('magvitv2', 'magvit_small')):
    found = arrays_of(goldens / name)
    # Without weights: only the names of what is compared or read.
    model, max_text = verify.load_model(kind, str(goldens / name))
    if kind == 'showo':
      made = showo_checks.make(model, None, found, max_text)
      inputs = showo_checks.INPUTS
    else:
      made = vision_checks.magvit(model, found)
      inputs = vision_checks.inputs(found)
    assert set(found) <= set(made) | inputs


LAYER = 'showo.model.layers.'


def transposed(state):
  name = f'{LAYER}1.self_attn.v_proj.weight'
  state[name] = state[name].T


def swapped_layers(state):
  for name in [n for n in state if n.startswith(f'{LAYER}0.')]:
    other = name.replace(f'{LAYER}0.', f'{LAYER}1.')
    state[name], state[other] = state[other], state[name]


def without_bias(state):
  state[f'{LAYER}2.mlp.fc1.bias'] *= 0


def reordered(state, order):
  """Permutes the channels of each head of queries and keys alike."""
  for i in range(3):
    for which in 'qk':
      name = f'{LAYER}{i}.self_attn.{which}'
      for end in ('weight', 'bias'):
        array = state[f'{name}_proj.{end}']
        heads = array.reshape(4, 16, *array.shape[1:])[:, order]
        state[f'{name}_proj.{end}'] = heads.reshape(array.shape)
        norm = f'{name}_layernorm.{end}'
        state[norm] = state[norm][order]


def other_half_rotated(state):
  reordered(state, np.roll(np.arange(16), 8))


def rotated_in_adjacent_pairs(state):
  turned = np.arange(8).reshape(2, 4).T.reshape(-1)
  reordered(state, np.concatenate([turned, np.arange(8, 16)]))


def swapped_norms(state):
  name = f'{LAYER}0.self_attn.{{}}_layernorm.weight'
  q, k = name.format('q'), name.format('k')
  state[q], state[k] = state[k], state[q]


@pytest.mark.parametrize(
  'harm',
  [
    transposed,
    swapped_layers,
    without_bias,
    other_half_rotated,
    rotated_in_adjacent_pairs,
    swapped_norms,
  ],
)
def test_a_show_o_with_a_fault_is_caught(run, goldens, tmp_path, harm):
  folder = goldens / 'showo_small'
  state = safetensors.numpy.load_file(folder / 'model.safetensors')
  harm(state)
  src = torch_weights.write(
    tmp_path / 'src', state, json.loads((folder / 'config.json').read_text())
  )
  code, lines = run('showo', src, arrays_of(folder, SHOW_O_KEYS))
  assert code == 1
  assert failures(lines) == {'t2i_win_logits'}


def transposed_convolution(state):
  name = 'encoder.down.1.block.0.conv2.weight'
  state[name] = state[name].transpose(0, 1, 3, 2)


def swapped_blocks(state):
  for name in [n for n in state if n.startswith('encoder.mid.block_1.')]:
    other = name.replace('block_1', 'block_2')
    state[name], state[other] = state[other], state[name]


def without_a_bias(state):
  # (A norm over single channels would hide that of conv1.)
  state['encoder.down.0.block.0.conv2.bias'] *= 0


def swapped_queries(state):
  for end in ('weight', 'bias'):
    q, v = f'encoder.mid.attn_1.q.{end}', f'encoder.mid.attn_1.v.{end}'
    state[q], state[v] = state[v], state[q]


def transposed_decoder(state):
  name = 'decoder.up.1.block.0.conv1.weight'
  state[name] = state[name].transpose(0, 1, 3, 2)


@pytest.mark.parametrize(
  'harm, caught',
  [
    (transposed_convolution, 'z_0'),
    (swapped_blocks, 'z_0'),
    (without_a_bias, 'z_0'),
    (swapped_queries, 'z_0'),
    (transposed_decoder, 'recon_0'),
  ],
)
def test_a_tokenizer_with_a_fault_is_caught(
  run, goldens, tmp_path, harm, caught
):
  folder = goldens / 'magvit_small'
  state = safetensors.numpy.load_file(folder / 'model.safetensors')
  harm(state)
  src = torch_weights.write(
    tmp_path / 'src', state, json.loads((folder / 'config.json').read_text())
  )
  code, lines = run('magvitv2', src, arrays_of(folder, MAGVIT_KEYS))
  assert code == 1
  assert caught in failures(lines)


def test_only_bits_of_latents_near_zero_may_fall_either_way(run, goldens):
  folder = goldens / 'magvit_small'
  arrays = arrays_of(folder, ['pixels_0', 'z_0', 'indices_0'])
  z = np.moveaxis(arrays['z_0'], 1, -1).reshape(2, 64, 8)
  smallest = np.unravel_index(np.abs(z).argmin(), z.shape)
  arrays['indices_0'][smallest[:2]] ^= 1 << (7 - smallest[2])
  assert run('magvitv2', folder, arrays)[0] == 1
  wide = 1.1 * float(np.abs(z).min()) / 1e-4
  assert run('magvitv2', folder, arrays, '--scale', str(wide))[0] == 0


@pytest.fixture
def policy(goldens):
  return goldens / 'showo_small'


def test_wrong_integers_fail(run, policy):
  arrays = arrays_of(
    policy,
    [
      't2i_text_ids',
      't2i_win_tokens',
      't2i_mask',
      't2i_win_ids',
      't2i_win_labels',
      't2i_attention',
    ],
  )
  arrays['t2i_win_labels'][1, 20] += 1
  arrays['t2i_attention'][2, 3, 30] ^= True
  code, lines = run('showo', policy, arrays)
  assert code == 1
  assert failures(lines) == {'t2i_win_labels', 't2i_attention'}
  assert any('1 of 124 differ' in line for line in lines)


def test_unknown_keys_are_named_and_do_not_fail(run, policy):
  arrays = arrays_of(policy, SHOW_O_KEYS)
  code, lines = run('showo', policy, arrays | {'mystery': np.zeros(2)})
  assert code == 0
  assert any(line.endswith('mystery: unknown key') for line in lines)


def test_nothing_compared_is_no_success(run, policy):
  code, lines = run('showo', policy, {'mystery': np.zeros(2)})
  assert code == 1
  assert lines[-2] == '0 passed, 0 failed'
  assert run('magvitv2', policy.parent / 'magvit_small', {})[0] == 1


def test_what_a_key_needs_is_named(run, policy):
  arrays = arrays_of(
    policy,
    [
      't2i_win_logits',
      'dpo_loss',
      'mmu_win_ids',
      'mmu_win_labels',
      'logp_reference_mmu_win',
    ],
  )
  code, lines = run('showo', policy, arrays)
  said = '\n'.join(lines)
  assert code == 1
  assert 't2i_win_logits: cannot be computed without t2i_win_ids' in said
  assert 'logp_reference_mmu_win: cannot be computed without --refer' in said
  assert 'mmu_win_ids: given' in said


def test_a_shape_or_a_nan_fails(run, policy):
  arrays = arrays_of(policy, SHOW_O_KEYS)
  code, lines = run(
    'showo',
    policy,
    arrays | {'t2i_win_logits': arrays['t2i_win_logits'][:, :-1]},
  )
  assert code == 1 and 'shape (4, 31, 125), wanted (4, 30, 125)' in lines[1]
  arrays['t2i_win_logits'][0, 0, 0] = np.nan
  code, lines = run('showo', policy, arrays)
  assert code == 1 and failures(lines) == {'t2i_win_logits'}


def test_a_tolerance_decides(run, policy):
  arrays = arrays_of(policy, SHOW_O_KEYS)
  arrays['t2i_win_logits'][0, 5, 7] += 5e-4
  assert run('showo', policy, arrays)[0] == 1
  code, lines = run('showo', policy, arrays, '--scale', '10')
  assert code == 0 and 'tolerance 1e-03' in lines[1]
  assert run('showo', policy, arrays, '--scale', 'nan')[0] == 2


def test_projected_features_and_given_embeddings(run, tmp_path):
  torch_weights.write(
    tmp_path / 'src',
    torch_weights.arrays('with_clip'),
    torch_weights.config('with_clip'),
  )
  state = {
    k.removeprefix('mm_projector.'): v.astype(np.float64)
    for k, v in torch_weights.arrays('with_clip').items()
  }
  rng = np.random.default_rng(0)
  features = rng.normal(size=(2, 9, 12)).astype(np.float32)
  erf = np.vectorize(math.erf)
  x = features @ state['0.weight'].T + state['0.bias']
  x = 0.5 * x * (1 + erf(x / math.sqrt(2)))
  projected = x @ state['2.weight'].T + state['2.bias']
  arrays = {'clip_features': features, 'clip_projected': projected}
  assert run('showo', tmp_path / 'src', arrays)[0] == 0
  arrays['clip_projected'] = projected + 1e-3
  assert run('showo', tmp_path / 'src', arrays)[0] == 1
  torch_weights.write(
    tmp_path / 'plain',
    torch_weights.arrays('showo'),
    torch_weights.config('showo'),
  )
  code, lines = run('showo', tmp_path / 'plain', arrays)
  assert code == 1 and 'this model has no mm_projector' in lines[0]


@pytest.mark.parametrize('additive', [False, True])
def test_logits_of_given_embeddings_are_those_of_transformers(
  run, tmp_path, additive
):
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  sizes, state = torch_weights.WITH_CLIP, torch_weights.arrays('with_clip')
  theirs = transformers.PhiForCausalLM(
    transformers.PhiConfig(
      vocab_size=sizes.vocab.size,
      hidden_size=32,
      num_hidden_layers=3,
      num_attention_heads=4,
      intermediate_size=24,
      qk_layernorm=True,
      hidden_act='gelu_new',
      attn_implementation='eager',
      pad_token_id=None,
      bos_token_id=None,
      eos_token_id=None,
    )
  ).eval()
  theirs.load_state_dict(
    {
      k.removeprefix('showo.'): torch.from_numpy(v)
      for k, v in state.items()
      if k.startswith('showo.')
    },
    strict=True,
  )
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 7, 32)).astype(np.float32)
  mask = np.tril(np.ones((2, 7, 7), bool)) | (np.arange(7) == 4)
  added = np.where(mask, 0.0, np.finfo(np.float32).min).astype(np.float32)
  with torch.no_grad():
    wanted = theirs(
      inputs_embeds=torch.from_numpy(x),
      use_cache=False,
      attention_mask=torch.from_numpy(added[:, None]),
    ).logits.numpy()
  torch_weights.write(
    tmp_path / 'src', state, torch_weights.config('with_clip')
  )
  arrays = {
    'embeds_in': x,
    'embeds_logits': wanted,
    'embeds_mask': added[:, None] if additive else mask,
  }
  code, lines = run('showo', tmp_path / 'src', arrays)
  assert code == 0, lines


def test_a_tower_is_compared_too(run, tmp_path):
  src = torch_weights.write(
    tmp_path / 'src',
    torch_weights.arrays('clip_vision'),
    torch_weights.config('clip_vision'),
  )
  pixels = np.random.default_rng(0).normal(size=(1, 3, 12, 12))
  pixels = pixels.astype(np.float32)
  model = torch_weights.model('clip_vision')
  features = np.asarray(model(pixels.transpose(0, 2, 3, 1)))
  arrays = {'clip_pixels': pixels, 'clip_features': features}
  assert run('clip_vision', src, arrays)[0] == 0
  assert (
    run('clip_vision', src, arrays | {'clip_pixels': pixels[..., ::-1]})[0] == 1
  )


def test_what_cannot_be_read_ends_in_one_line(tmp_path, policy, capsys):
  nothing = tmp_path / 'nothing.npz'
  for path, data in (
    (nothing, None),
    (tmp_path / 'x.npz', b'hello'),
    (tmp_path / 'y.npz', b'PK\x03\x04broken'),
  ):
    if data:
      path.write_bytes(data)
    code = verify.main(['showo', str(policy), str(path)], terminal.silent())
    said = capsys.readouterr().err
    assert code == 2 and said.count('\n') == 1, said
  np.save(tmp_path / 'w.npy', np.zeros(3))
  assert (
    verify.main(
      ['showo', str(policy), str(tmp_path / 'w.npy')], terminal.silent()
    )
    == 2
  )
  np.savez(tmp_path / 'z.npz', a=np.array([{}], object))
  code = verify.main(
    ['showo', str(policy), str(tmp_path / 'z.npz')], terminal.silent()
  )
  assert code == 2 and 'no readable arrays' in capsys.readouterr().err


@pytest.mark.parametrize(
  'shape, code',
  [
    ('tt', 0),
    ('1tt', 0),
    ('11tt', 0),
    ('btt', 0),
    ('b1tt', 0),
    ('t', 1),
    ('bbtt', 1),
    ('2tt', 1),
  ],
)
def test_rows_may_share_the_mask_of_embeddings(
  run, goldens, tmp_path, golden_policy, shape, code
):
  """PyTorch broadcasts an additive mask [T, T] or [1, 1, T, T] over rows."""
  folder = goldens / 'showo_small'
  assert (
    convert.main(
      ['showo', str(folder), str(tmp_path / 'ours')], terminal.silent()
    )
    == 0
  )
  rows, size = 3, 5
  width = golden_policy.config.decoder.width
  x = np.random.default_rng(0).normal(size=(rows, size, width))
  x, mask = x.astype(np.float32), np.tril(np.ones((size, size), bool))
  logits = np.stack(
    [showo_checks.embedded_logits(golden_policy, row, mask) for row in x]
  )
  sizes = {'b': rows, 't': size, '1': 1, '2': 2}
  added = np.where(mask, 0, np.finfo(np.float32).min).astype(np.float32)
  found, lines = run(
    'showo',
    tmp_path / 'ours',
    {
      'embeds_in': x,
      'embeds_logits': logits,
      'embeds_mask': np.broadcast_to(
        added if len(shape) > 1 else added[0], [sizes[s] for s in shape]
      ),
    },
  )
  assert found == code, lines
  if code:
    assert 'embeds_mask must be [T, T]' in lines[0]
