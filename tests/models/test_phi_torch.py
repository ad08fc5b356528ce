"""The decoder agrees with the Phi of the transformers library."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conversions.tables import showo_table
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import vocabulary

torch = pytest.importorskip('torch')

VOCAB = vocabulary.Vocab(20, 8, 19)
DECODER = phi.PhiConfig(width=48, layers=2, heads=3, mlp=40)


@pytest.fixture(scope='module')
def theirs():
  """A small random Phi with qk LayerNorm, no weight of it trivial."""
  transformers = pytest.importorskip('transformers')
  config = transformers.PhiConfig(
    vocab_size=VOCAB.size,
    hidden_size=DECODER.width,
    intermediate_size=DECODER.mlp,
    num_hidden_layers=DECODER.layers,
    num_attention_heads=DECODER.heads,
    hidden_act='gelu_new',
    qk_layernorm=True,
    resid_pdrop=0.0,
    embd_pdrop=0.0,
    attention_dropout=0.0,
    attn_implementation='eager',
    pad_token_id=None,
    bos_token_id=None,
    eos_token_id=None,
  )
  torch.manual_seed(0)
  model = transformers.PhiForCausalLM(config).eval()
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.add_(torch.randn_like(parameter) * 0.2)
  return model


@pytest.fixture(scope='module')
def ours(theirs):
  weights = {f'showo.{k}': v.numpy() for k, v in theirs.state_dict().items()}
  return showo_table.to_jax(weights, showo.ShowOConfig(VOCAB, DECODER))


@pytest.mark.parametrize('ar', [[1] * 9, [1, 1, 1, 1, 0, 0, 0, 0, 1]])
def test_logits_agree_under_any_mask(theirs, ours, ar):
  tokens = np.random.default_rng(0).integers(0, VOCAB.size, (2, 9))
  valid = np.ones((2, 9), bool)
  valid[0, :2] = False
  mask = np.array(attention_mask.mask_matrix(np.array([ar, ar]), valid))
  additive = np.where(mask[:, None], 0.0, np.finfo(np.float32).min)
  positions = np.broadcast_to(np.arange(9), tokens.shape)
  with torch.no_grad():
    expected = theirs(
      input_ids=torch.from_numpy(tokens),
      attention_mask=torch.from_numpy(additive.astype(np.float32)),
      position_ids=torch.from_numpy(positions.copy()),
      use_cache=False,
    ).logits.numpy()

  @jax.jit
  def logits(model, tokens):
    hidden, _ = model(tokens, jnp.asarray(mask), jnp.asarray(positions))
    return model.logits(hidden)

  # Logits reach 10; two layers of float32 sums agree to five digits.
  np.testing.assert_allclose(logits(ours, tokens), expected, atol=1e-4)
