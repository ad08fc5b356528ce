"""BERT and MPNet agree with transformers' models, layer by layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_weights

from conversions.tables import bert_table
from conversions.tables import mpnet_table
from conversions.tables import text_encoder_tensors
from hermesflow_jax.models import mpnet
from hermesflow_jax.models import text_pooling

TABLES = {'bert': bert_table, 'mpnet': mpnet_table}
KINDS = tuple(TABLES)


@pytest.fixture(scope='module', params=KINDS)
def kind(request):
  return request.param


@pytest.fixture(scope='module')
def theirs(kind, tmp_path_factory):
  """The random model of `torch_weights`, as transformers reads it."""
  pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  folder = torch_weights.write(
    tmp_path_factory.mktemp(kind),
    torch_weights.arrays(kind),
    torch_weights.config(kind),
  )
  classes = {'bert': 'BertModel', 'mpnet': 'MPNetModel'}
  model, report = getattr(transformers, classes[kind]).from_pretrained(
    folder, output_loading_info=True, attn_implementation='eager'
  )
  assert not report['missing_keys'] and not report['unexpected_keys']
  return model.eval()


@pytest.fixture(scope='module')
def ours(kind):
  return torch_weights.model(kind)


def rows(kind, lengths=(9, 5, 2), most=9):
  """Returns (tokens, mask) of random texts, padded on the right."""
  config = torch_weights.KINDS[kind][1]
  pad = 1 if kind == 'mpnet' else 0
  tokens = np.random.default_rng(0).integers(
    2, config.vocab, (len(lengths), most)
  )
  mask = np.arange(most) < np.array(lengths)[:, None]
  return np.where(mask, tokens, pad).astype(np.int32), mask


@jax.jit
def hidden_states(model, tokens, mask):
  return model.hidden_states(tokens, mask)


@jax.jit
def last_states(model, tokens, mask):
  return model(tokens, mask)


def test_each_layer_agrees_with_pytorch_under_padding(kind, theirs, ours):
  torch = pytest.importorskip('torch')
  tokens, mask = rows(kind)
  with torch.no_grad():
    expected = theirs(
      input_ids=torch.from_numpy(tokens).long(),
      attention_mask=torch.from_numpy(mask).long(),
      output_hidden_states=True,
    )
  actual = hidden_states(ours, tokens, mask)
  assert len(actual) == len(expected.hidden_states)
  for layer, states in zip(actual, expected.hidden_states):
    # LayerNorm gives values of size 1; sums of 24 products in float32.
    np.testing.assert_allclose(layer[mask], states.numpy()[mask], atol=1e-5)
  np.testing.assert_array_equal(last_states(ours, tokens, mask), actual[-1])


def test_pytorch_keeps_the_bits_of_the_weights(kind, theirs):
  state = torch_weights.arrays(kind)
  actual = {name: a.numpy() for name, a in theirs.state_dict().items()}
  back = TABLES[kind].to_torch(
    TABLES[kind].to_jax(actual, torch_weights.KINDS[kind][1])
  )
  assert back.keys() == state.keys()
  for name, array in state.items():
    np.testing.assert_array_equal(back[name], array)


def test_pads_and_other_rows_do_not_matter(kind, ours):
  tokens, mask = rows(kind)
  all_rows = np.asarray(last_states(ours, tokens, mask))
  for number, length in ((1, 5), (2, 2)):
    alone = last_states(
      ours, tokens[number : number + 1, :length], np.ones((1, length), bool)
    )
    np.testing.assert_allclose(alone[0], all_rows[number, :length], atol=1e-5)


def test_pools_read_tokens_alone(kind, ours):
  tokens, mask = rows(kind)
  states = last_states(ours, tokens, mask)
  first = text_pooling.first_token(states, mask)
  np.testing.assert_array_equal(first, states[:, 0])
  mean = text_pooling.masked_mean(states, mask)
  expected = np.stack([np.asarray(s)[m].mean(0) for s, m in zip(states, mask)])
  expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
  np.testing.assert_allclose(mean, expected, atol=1e-6)


def test_bfloat16_multiplies_in_bfloat16_and_sums_in_float32(kind, ours):
  tokens, mask = rows(kind)
  exact = np.asarray(last_states(ours, tokens, mask))
  actual = last_states(ours.with_dtype('bfloat16'), tokens, mask)
  assert actual.dtype == jnp.float32
  error = np.abs(actual - exact)[mask].max()
  # bfloat16 has 8 bits; three layers of values of size 1 to 3.
  assert 1e-5 < error < 0.15


def test_a_row_beyond_the_positions_is_refused(kind, ours):
  longest = ours.config.longest
  tokens = np.full((1, longest + 1), 3, np.int32)
  with pytest.raises(ValueError, match=f'at most {longest} places, got'):
    ours(tokens, tokens > 0)


def test_distances_share_buckets_as_in_pytorch():
  torch = pytest.importorskip('torch')
  modeling = pytest.importorskip('transformers.models.mpnet.modeling_mpnet')
  distances = np.arange(-600, 601)
  expected = modeling.MPNetEncoder.relative_position_bucket(
    torch.from_numpy(distances)
  )
  np.testing.assert_array_equal(
    mpnet.distance_buckets(distances), expected.numpy()
  )


def test_checkpoints_of_whole_berts_are_read_with_their_old_names():
  state = torch_weights.arrays('bert')
  old = {
    'bert.'
    + name.replace('LayerNorm.weight', 'LayerNorm.gamma').replace(
      'LayerNorm.bias', 'LayerNorm.beta'
    ): array
    for name, array in state.items()
  }
  old['cls.predictions.transform.LayerNorm.gamma'] = np.zeros(3, np.float32)
  old['bert.embeddings.position_ids'] = np.arange(40)[None]
  lines = []
  actual = text_encoder_tensors.encoder_tensors(old, lines.append)
  assert {name.removeprefix('bert.') for name in actual} == state.keys()
  assert len(lines) == 2 and 'cls.predictions' in lines[0]


@pytest.mark.parametrize(
  'change, message',
  [
    ({'hidden_act': 'relu'}, "hidden_act must be 'gelu', got 'relu'"),
    ({'is_decoder': True}, 'is_decoder must be False, got True'),
    (
      {'position_embedding_type': 'relative_key'},
      "position_embedding_type must be 'absolute'",
    ),
    ({'vocab_size': 7}, 'vocab_size must be 50, got 7'),
    ({'num_attention_heads': None}, 'num_attention_heads is missing'),
  ],
)
def test_berts_of_another_form_are_refused(change, message):
  record = torch_weights.config('bert') | change
  with pytest.raises(ValueError, match=message):
    bert_table.read_sizes(torch_weights.arrays('bert'), record)
