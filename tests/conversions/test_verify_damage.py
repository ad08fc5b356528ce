"""The verifier catches every common fault of a conversion."""

import json

import golden_arrays
import numpy as np
import pytest
import safetensors.numpy
import torch_weights

SHOW_O_KEYS = ('t2i_win_ids', 't2i_win_logits')


MAGVIT_KEYS = ('pixels_0', 'z_0', 'recon_0', 'indices_0')
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
def test_a_show_o_with_a_fault_is_caught(run_verify, goldens, tmp_path, harm):
  folder = goldens / 'showo_small'
  state = safetensors.numpy.load_file(folder / 'model.safetensors')
  harm(state)
  src = torch_weights.write(
    tmp_path / 'src', state, json.loads((folder / 'config.json').read_text())
  )
  code, lines = run_verify(
    'showo', src, golden_arrays.arrays_of(folder, SHOW_O_KEYS)
  )
  assert code == 1
  assert golden_arrays.failures(lines) == {'t2i_win_logits'}


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
  run_verify, goldens, tmp_path, harm, caught
):
  folder = goldens / 'magvit_small'
  state = safetensors.numpy.load_file(folder / 'model.safetensors')
  harm(state)
  src = torch_weights.write(
    tmp_path / 'src', state, json.loads((folder / 'config.json').read_text())
  )
  code, lines = run_verify(
    'magvitv2', src, golden_arrays.arrays_of(folder, MAGVIT_KEYS)
  )
  assert code == 1
  assert caught in golden_arrays.failures(lines)


def test_only_bits_of_latents_near_zero_may_fall_either_way(
  run_verify, goldens
):
  folder = goldens / 'magvit_small'
  arrays = golden_arrays.arrays_of(folder, ['pixels_0', 'z_0', 'indices_0'])
  z = np.moveaxis(arrays['z_0'], 1, -1).reshape(2, 64, 8)
  smallest = np.unravel_index(np.abs(z).argmin(), z.shape)
  arrays['indices_0'][smallest[:2]] ^= 1 << (7 - smallest[2])
  assert run_verify('magvitv2', folder, arrays)[0] == 1
  wide = 1.1 * float(np.abs(z).min()) / 1e-4
  assert run_verify('magvitv2', folder, arrays, '--scale', str(wide))[0] == 0
