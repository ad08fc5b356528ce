"""Wrong tensors and configs are named in a message; nothing is written."""

import conversion_files
import numpy as np
import pytest
import torch_weights


def test_every_fault_is_named_at_once(run, tmp_path):
  state = torch_weights.arrays('showo')
  layer = 'showo.model.layers.1.'
  broken = state['showo.lm_head.bias'].copy()
  broken[3] = np.nan
  src = conversion_files.folder_of(
    tmp_path / 'src',
    'showo',
    **{
      f'{layer}mlp.fc1.bias': None,
      f'{layer}mlp.fc2.weight': state[f'{layer}mlp.fc2.weight'].T,
      f'{layer}self_attn.dense.bias': np.zeros(32, np.int32),
      f'{layer}self_attn.rotary.frequencies': np.zeros(4, np.float32),
      'showo.model.final_layernorm.bias': np.zeros(32, np.int64),
      'showo.lm_head.bias': broken,
    },
  )
  code, output = run('showo', src, tmp_path / 'ours')
  assert code == 2
  for fault in (
    f'missing {layer}mlp.fc1.bias (24,)',
    f'{layer}mlp.fc2.weight: shape must be (32, 24), got (24, 32)',
    f'{layer}self_attn.dense.bias: dtype must be float32, got int32',
    f'surplus {layer}self_attn.rotary.frequencies (4,)',
    'final_layernorm.bias: dtype must be float32, got int64',
    'lm_head.bias: values must be finite',
    ' 6 faults',
  ):
    assert fault in output
  assert [p.name for p in tmp_path.iterdir()] == ['src']


def test_faults_of_tensors_are_told_with_sizes_that_do_not_fit(run, tmp_path):
  """Which tensors are wrong does not rest on what the sizes are."""
  layer = 'showo.model.layers.1.'
  state = torch_weights.arrays('showo')
  broken = state['showo.lm_head.bias'].copy()
  broken[3] = np.inf
  src = conversion_files.folder_of(
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
  code, output = run('showo', src, tmp_path / 'ours')
  assert code == 2
  for fault in (
    'the embedding must have 39 rows, got 3',
    f'missing {layer}mlp.fc1.bias',
    f'surplus {layer}self_attn.rotary.frequencies (4,)',
    'final_layernorm.bias: dtype must be float32, got int64',
    'lm_head.bias: values must be finite',
    ' 5 faults',
  ):
    assert fault in output
  assert [p.name for p in tmp_path.iterdir()] == ['src']


@pytest.mark.parametrize('name', conversion_files.NAMES)
def test_names_of_another_form_are_all_told(run, tmp_path, name):
  state = torch_weights.arrays(name)
  state = {f'{k}.value': v for k, v in state.items()}
  src = torch_weights.write(tmp_path / 'src', state, torch_weights.config(name))
  code, output = run(conversion_files.NAMES[name], src, tmp_path / 'ours')
  assert code == 2
  assert all(f'surplus {k} ' in output for k in state)
  first = {
    'magvitv2': 'encoder.conv_in.weight',
    'clip_vision': 'vision_model.embeddings.class_embedding',
    'clip': 'text_model.embeddings.token_embedding.weight',
    'bert': 'embeddings.word_embeddings.weight',
    'mpnet': 'embeddings.word_embeddings.weight',
  }.get(name, 'showo.lm_head.bias')
  assert f'missing {first}' in output


@pytest.mark.parametrize(
  'changes, output',
  [
    ({'max_text_len': 0}, 'max_text_len must be at least 2, got 0'),
    ({'codebook_size': None}, 'codebook_size is missing'),
    ({'llm_vocab_size': 'x'}, "llm_vocab_size must be a number, got 'x'"),
    ({'vocab_size': 99}, 'vocab_size must be 39, got 99'),
    (
      {'special_token_ids': {'<|soi|>': 3, '<|eot|>': 19}},
      '<|soi|> must be 21, got 3',
    ),
    (
      {'special_token_ids': {'<|eot|>': 50}},
      '<|eot|> must be a text token, got 50',
    ),
    ({'num_attention_heads': 8}, 'num_attention_heads must be 4, got 8'),
    ({'num_hidden_layers': 2}, 'num_hidden_layers must be 3, got 2'),
    ({'w_clip_vit': True}, 'w_clip_vit must be False, got True'),
    ({'hidden_act': 'relu'}, "hidden_act must be 'gelu_new', got 'relu'"),
    ({'num_vq_tokens': -4}, 'num_vq_tokens must be a number, got -4'),
    ({'rope_theta': 0}, 'rope_theta must be more than 0, got 0.0'),
    (
      {'vocab_size': None, 'llm_vocab_size': 10**18, 'mask_token_id': None},
      'rows, got 39',
    ),
  ],
)
def test_a_config_that_does_not_fit_is_refused(run, tmp_path, changes, output):
  record = torch_weights.config('showo') | changes
  record = {k: v for k, v in record.items() if v is not None}
  src = torch_weights.write(
    tmp_path / 'src', torch_weights.arrays('showo'), record
  )
  code, actual = run('showo', src, tmp_path / 'ours')
  assert code == 2 and output in actual
  assert [p.name for p in tmp_path.iterdir()] == ['src']


@pytest.mark.parametrize(
  'changes, output',
  [
    # 2^40 codes are not made to see that they are not there.
    (
      {'encoder.quant_conv.weight': np.zeros((40, 3, 1, 1), np.float32)},
      'quantize.embedding must have 2^40 rows, got 8',
    ),
    (
      {'encoder.conv_in.weight': np.zeros((0, 3, 3, 3), np.float32)},
      'conv_in.weight: shape must have 4 axes, got (0, 3, 3, 3)',
    ),
    (
      {'encoder.conv_in.weight': np.zeros((3, 3), np.float32)},
      'conv_in.weight: shape must have 4 axes, got (3, 3)',
    ),
    (
      {'encoder.conv_in.weight': np.zeros((4000, 3, 3, 3), np.float32)},
      'ch must be 4000, got 8',
    ),
    ({'encoder.conv_in.weight': None}, 'missing encoder.conv_in.weight'),
    ({'quantize.power_vals': np.array([1, 2, 4])}, 'power_vals: differs'),
    (
      {'decoder.up.1.block.0.conv1.weight': None},
      'missing decoder.up.1.block.0.conv1.weight',
    ),
  ],
)
def test_a_tokenizer_whose_sizes_lie_is_refused(run, tmp_path, changes, output):
  src = conversion_files.folder_of(tmp_path / 'src', 'magvitv2', **changes)
  code, actual = run('magvitv2', src, tmp_path / 'ours')
  assert code == 2 and output in actual
  assert [p.name for p in tmp_path.iterdir()] == ['src']


def test_without_a_config_it_says_what_is_wanted(run, tmp_path):
  src = conversion_files.folder_of(tmp_path / 'src', 'showo')
  (src / 'config.json').unlink()
  code, output = run('showo', src, tmp_path / 'ours')
  assert code == 2
  assert 'there is no config.json: llm_vocab_size is missing' in output


def test_flags_that_mean_nothing_are_refused(run, converted, tmp_path):
  code, output = run(
    'showo', converted[0], tmp_path / 'x', '--dtype', 'bfloat16'
  )
  assert code == 2 and '--sizes and --dtype require --reverse' in output
  code, output = run('phi', converted[1], tmp_path / 'x', '--reverse')
  assert code == 2 and 'use KIND showo' in output


def test_nothing_is_converted_from_nothing(run, tmp_path):
  code, output = run('showo', tmp_path / 'nowhere', tmp_path / 'x')
  assert code == 2 and 'no file or folder' in output
  assert not any(tmp_path.iterdir())
