"""Features of CLIP and logits of embeddings are compared."""

import math

import numpy as np
import pytest
import torch_weights

from conversions import convert
from conversions.verification import showo_checks
from hermesflow_jax.runtime import terminal


def test_projected_features_and_given_embeddings(run_verify, tmp_path):
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
  assert run_verify('showo', tmp_path / 'src', arrays)[0] == 0
  arrays['clip_projected'] = projected + 1e-3
  assert run_verify('showo', tmp_path / 'src', arrays)[0] == 1
  torch_weights.write(
    tmp_path / 'plain',
    torch_weights.arrays('showo'),
    torch_weights.config('showo'),
  )
  code, lines = run_verify('showo', tmp_path / 'plain', arrays)
  assert code == 1 and 'this model has no mm_projector' in lines[0]


@pytest.mark.parametrize('additive', [False, True])
def test_logits_of_given_embeddings_are_those_of_transformers(
  run_verify, tmp_path, additive
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
    expected = theirs(
      inputs_embeds=torch.from_numpy(x),
      use_cache=False,
      attention_mask=torch.from_numpy(added[:, None]),
    ).logits.numpy()
  torch_weights.write(
    tmp_path / 'src', state, torch_weights.config('with_clip')
  )
  arrays = {
    'embeds_in': x,
    'embeds_logits': expected,
    'embeds_mask': added[:, None] if additive else mask,
  }
  code, lines = run_verify('showo', tmp_path / 'src', arrays)
  assert code == 0, lines


def test_a_tower_is_compared_too(run_verify, tmp_path):
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
  assert run_verify('clip_vision', src, arrays)[0] == 0
  assert (
    run_verify('clip_vision', src, arrays | {'clip_pixels': pixels[..., ::-1]})[
      0
    ]
    == 1
  )


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
  run_verify, goldens, tmp_path, golden_policy, shape, code
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
  actual, lines = run_verify(
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
  assert actual == code, lines
  if code:
    assert 'embeds_mask must be [T, T]' in lines[0]
