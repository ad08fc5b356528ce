"""A plain Phi becomes the Show-o that the official pretraining begins with."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
import torch_weights

from conversions import convert
from conversions import to_pytorch
from conversions.files import source
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sequences import attention_mask

OLD, CODES, TEXT = 30, 16, 20
SIZE = TEXT + 10 + CODES + 1
RECORD = {
  'model_type': 'phi',
  'vocab_size': OLD,
  'hidden_size': 32,
  'num_hidden_layers': 3,
  'num_attention_heads': 4,
  'intermediate_size': 24,
  'qk_layernorm': False,
  'partial_rotary_factor': 0.5,
  'hidden_act': 'gelu_new',
  'initializer_range': 0.05,
  'llm_vocab_size': TEXT,
  'codebook_size': CODES,
  'num_vq_tokens': 4,
  'special_token_ids': {'<|eot|>': 19},
}


def plain_state():
  """The state dict of a plain Phi of OLD rows, none of it trivial."""
  state = {
    name.removeprefix('showo.'): array
    for name, array in torch_weights.arrays('showo').items()
    if 'k_layernorm' not in name and 'q_layernorm' not in name
  }
  rng = np.random.default_rng(1)
  for name in ('model.embed_tokens.weight', 'lm_head.weight', 'lm_head.bias'):
    shape = (OLD, *state[name].shape[1:])
    state[name] = rng.normal(size=shape).astype(np.float32)
  return state


@pytest.fixture(scope='module')
def initial(tmp_path_factory):
  """(plain state dict, folder of the initial Show-o in PyTorch's form)."""
  root, state = tmp_path_factory.mktemp('phi'), plain_state()
  src = torch_weights.write(root / 'src', state, RECORD)
  for arguments in (
    ['phi', src, root / 'ours'],
    ['showo', root / 'ours', root / 'back', '--reverse'],
  ):
    assert convert.main([str(a) for a in arguments], terminal.silent()) == 0
  return state, root


def read(folder):
  return {
    name: tensor.read()
    for name, tensor in source.find(str(folder)).tensors.items()
  }


def test_old_rows_stay_and_new_ones_are_small(initial):
  state, root = initial
  grown = read(root / 'back')
  for name in ('model.embed_tokens.weight', 'lm_head.weight', 'lm_head.bias'):
    array = grown[f'showo.{name}']
    assert len(array) == SIZE
    np.testing.assert_array_equal(array[:OLD], state[name])
    new = array[OLD:]
    if name.endswith('bias'):
      assert not new.any()
    else:
      # 17 x 32 draws: their deviation is within a tenth of 0.05.
      assert abs(new.std() - 0.05) < 0.005 and abs(new.mean()) < 0.01


def test_norms_of_queries_and_keys_begin_as_the_identity(initial):
  grown = read(initial[1] / 'back')
  norms = {
    k: v for k, v in grown.items() if 'k_layernorm' in k or 'q_layernorm' in k
  }
  assert len(norms) == 3 * 4
  for name, array in norms.items():
    np.testing.assert_array_equal(array, float(name.endswith('weight')))


def test_the_rest_is_the_same(initial):
  state, root = initial
  grown = read(root / 'back')
  for name, array in state.items():
    if 'lm_head' not in name and 'embed_tokens' not in name:
      np.testing.assert_array_equal(grown[f'showo.{name}'], array)


@pytest.mark.parametrize(
  'changes, output',
  [
    ({'num_attention_heads': None}, 'num_attention_heads is missing'),
    ({'num_attention_heads': 5}, 'width must be a multiple of 5 heads, got 32'),
    ({'vocab_size': 31}, 'vocab_size must be 30, got 31'),
    ({'model_type': 'llama'}, "model_type must be 'phi', got 'llama'"),
    ({'codebook_size': -1}, 'codebook_size must be a number, got -1'),
    ({'codebook_size': 10**12}, 'the embedding must have at most 10000000000'),
    (
      {
        'codebook_size': 2,
        'llm_vocab_size': 15,
        'special_token_ids': {'<|eot|>': 9},
      },
      'rows (the vocabulary) and at least',
    ),
    ({'initializer_range': float('inf')}, 'not JSON'),
  ],
)
def test_another_language_model_is_refused(tmp_path, capsys, changes, output):
  record = {k: v for k, v in (RECORD | changes).items() if v is not None}
  src = torch_weights.write(tmp_path / 'src', plain_state(), record)
  assert (
    convert.main(['phi', str(src), str(tmp_path / 'x')], terminal.silent()) == 2
  )
  assert output in capsys.readouterr().err


def test_faults_have_the_names_of_the_plain_phi(tmp_path, capsys):
  state = plain_state()
  del state['model.layers.1.mlp.fc1.bias']
  src = torch_weights.write(tmp_path / 'src', state, RECORD)
  assert (
    convert.main(['phi', str(src), str(tmp_path / 'x')], terminal.silent()) == 2
  )
  output = capsys.readouterr().err
  assert (
    'missing model.layers.1.mlp.fc1.bias' in output and 'showo' not in output
  )


def test_pytorch_makes_the_same_of_it(initial):
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  state, root = initial
  sizes = {
    k: v
    for k, v in RECORD.items()
    if k
    in (
      'vocab_size',
      'hidden_size',
      'num_hidden_layers',
      'num_attention_heads',
      'intermediate_size',
      'partial_rotary_factor',
      'hidden_act',
    )
  }
  theirs = transformers.PhiForCausalLM(
    transformers.PhiConfig(
      **sizes,
      qk_layernorm=True,
      attn_implementation='eager',
      resid_pdrop=0.0,
      pad_token_id=None,
      bos_token_id=None,
      eos_token_id=None,
    )
  ).eval()
  missing, surplus = theirs.load_state_dict(
    {k: torch.from_numpy(v.copy()) for k, v in state.items()}, strict=False
  )
  assert not surplus and len(missing) == 3 * 4
  tokens = np.arange(2 * 9).reshape(2, 9)
  with torch.no_grad():
    reference = theirs(torch.from_numpy(tokens), use_cache=False).logits.numpy()
  ours, _ = to_pytorch.load_jax_model('showo', str(root / 'ours'), None)
  mask = attention_mask.mask_matrix(
    jnp.ones((2, 9), jnp.int32), jnp.ones((2, 9), bool)
  )
  hidden, _ = ours(tokens, mask, jnp.arange(9))
  actual = np.asarray(ours.logits(hidden))[..., :OLD]
  np.testing.assert_allclose(actual, reference, atol=1e-4)
  # And what is written back loads into a module that has grown, by its names.
  theirs.resize_token_embeddings(SIZE)
  theirs.load_state_dict(
    {
      k.removeprefix('showo.'): torch.from_numpy(v)
      for k, v in read(root / 'back').items()
    },
    strict=True,
  )


def test_the_record_says_a_show_o(initial):
  record = json.loads((initial[1] / 'back' / 'config.json').read_text())
  assert record['vocab_size'] == SIZE
  assert record['special_token_ids'] == {'<|sot|>': 19, '<|eot|>': 19}
