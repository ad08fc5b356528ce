"""A row with CLIP features gives the official logits, whole and packed."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from conversions.tables import showo_table
from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.pair_dpo import pair_log_likelihood
from hermesflow_jax.runtime import batching
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import clip_rows

# Logits differ by the order of float32 sums; see the goldens' README.
LOGITS = {'atol': 1e-4, 'rtol': 0}
# Text of a row that is a prompt; the rest is a reply.
PROMPT = 5


@pytest.fixture(scope='module')
def arrays(goldens):
  with np.load(goldens / 'showo_small' / 'clip.npz') as file:
    return dict(file)


@pytest.fixture(scope='module')
def model(goldens, arrays):
  folder = goldens / 'showo_small'
  weights = safetensors.numpy.load_file(folder / 'model.safetensors')
  weights |= {k: v for k, v in arrays.items() if k.startswith('mm_projector')}
  record = json.loads((folder / 'config.json').read_text())
  config, _ = showo_table.read_sizes(weights, record | {'w_clip_vit': True})
  return showo_table.to_jax(weights, config)


@pytest.fixture(scope='module')
def outputs(model, arrays):
  """Rows, their mask, logits, projected features, packed log-likelihoods."""
  vocab, system = model.config.vocab, int(arrays['embeds_system'])
  ids, features = arrays['embeds_ids'], arrays['clip_features']
  text = ids[:, system + 3 :].tolist()
  assert all(words[-1] == vocab.eos for words in text)
  rows, is_feature = clip_rows.clip_mmu_rows(
    vocab,
    ids[0, 1 : 1 + system],
    features.shape[1],
    [words[:PROMPT] for words in text],
    [words[PROMPT:-1] for words in text],
    len(arrays['embeds_mask']),
  )
  packed = [
    packing.pack_record(
      vocab,
      [],
      np.zeros((2, 16), int),
      np.zeros(16, int),
      words[:PROMPT],
      [words[PROMPT:-1]] * 2,
      12,
      packing.PackedLengths(13, len(text[0]) - PROMPT),
      system=ids[0, 1 : 1 + system],
      features=feature,
    )
    for words, feature in zip(text, features)
  ]

  @jax.jit
  def compute(model, features, packed):
    mask = attention_mask.mask_matrix_with_features(
      rows.ar, rows.valid, is_feature
    )
    x = model.embed_clip(rows.tokens, features, system + 2)
    hidden, _ = model.from_embeddings(x, mask, jnp.arange(x.shape[-2]))
    logps, _ = pair_log_likelihood.pair_logps(model, packed, None, 64)
    logits = model.logits(hidden[:, arrays['embeds_places']])
    return mask, logits, model.projector(features), logps.mmu

  return compute(model, features, batching.stack(packed))


def test_the_mask_is_the_official_one(outputs, arrays):
  mask = outputs[0]
  expected = np.broadcast_to(arrays['embeds_mask'], mask.shape)
  np.testing.assert_array_equal(mask, expected)


def test_projected_features_are_the_official_ones(outputs, arrays):
  actual = outputs[2][:, np.array([0, 1, 575])]
  np.testing.assert_allclose(actual, arrays['projected'], **LOGITS)


def test_logits_are_the_official_ones(outputs, arrays):
  np.testing.assert_allclose(outputs[1], arrays['embeds_logits'], **LOGITS)


def test_packed_replies_score_as_official_logits(outputs, arrays):
  words = arrays['embeds_ids'][:, int(arrays['embeds_system']) + 3 + PROMPT :]
  # The token before a word predicts it, and the row ends in the last word.
  logits = arrays['embeds_logits'][:, -1 - words.shape[1] : -1]
  logps = jax.nn.log_softmax(logits, axis=-1)
  expected = np.take_along_axis(logps, words[..., None], axis=-1).sum((1, 2))
  # Four log-probabilities, each within the logits' tolerance.
  for side in range(2):
    np.testing.assert_allclose(outputs[3][:, side], expected, atol=4e-4)
