"""A packed row with CLIP features scores as whole rows of the official form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_clip

from hermesflow_jax.pair_dpo import pair_log_likelihood
from hermesflow_jax.pair_dpo import record_rows
from hermesflow_jax.runtime import batching
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import clip_rows
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.training import log_likelihood

SIZE, COUNT = 80, 2
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(COUNT, 9, 12)).astype(np.float32)
MASKED = RNG.random((COUNT, 1, tiny.IMAGE_TOKENS)) < 0.5
RECORDS = [
  {
    'caption': 'red circle',
    'codes': RNG.integers(0, 16, tiny.IMAGE_TOKENS),
    'caption_win': 'two blue square',
    'caption_lose': 'one green',
    'caption_dropped': '',
    'codes_win': RNG.integers(0, 16, tiny.IMAGE_TOKENS),
    'codes_lose': RNG.integers(0, 16, tiny.IMAGE_TOKENS),
    'image_dropped': '',
  }
  for _ in range(COUNT)
]


@pytest.fixture(scope='module')
def model():
  return tiny_clip.show_o(jax.random.key(5))


def packed(**changes):
  """Returns the packed batch of the records, with features or with codes."""
  make_row = record_rows.make_transform(
    tiny.vocab(), tiny.text(), tiny.LENGTHS, drop_condition=0.0
  )
  rng = np.random.default_rng(0)
  rows = [
    make_row(record | {k: v[n] for k, v in changes.items()}, rng)['packed']
    for n, record in enumerate(RECORDS)
  ]
  return batching.stack(rows)


@jax.jit
def logps(model, batch):
  return pair_log_likelihood.pair_logps(model, batch, MASKED, 512)[0]


@jax.jit
def whole_rows(model, rows, where, start):
  x = model.embed_clip(rows.tokens, FEATURES, start)
  mask = attention_mask.mask_matrix_with_features(rows.ar, rows.valid, where)
  hidden, _ = model.from_embeddings(x, mask, jnp.arange(SIZE))
  labels = log_likelihood.next_labels(rows.labels)
  return log_likelihood.sequence_logps(model.logits(hidden), labels)


def test_captions_score_as_whole_rows_with_a_dense_mask(model):
  text = tiny.text()
  (system,) = text.encode([clip_rows.SYSTEM_PROMPT])
  prompt = f'USER: {text_tokenizer.CAPTION_PROMPT} ASSISTANT:'
  actual = logps(model, packed(features=FEATURES))
  for side, name in enumerate(('caption_win', 'caption_lose')):
    rows, where = clip_rows.clip_mmu_rows(
      tiny.vocab(),
      system,
      9,
      text.encode([prompt]) * COUNT,
      text.encode_replies([record[name] for record in RECORDS]),
      SIZE,
    )
    expected = whole_rows(model, rows, where, len(system) + 2)
    np.testing.assert_allclose(actual.mmu[:, side], expected, atol=1e-4)


def test_images_score_as_without_features(model):
  with_features = logps(model, packed(features=FEATURES))
  with_codes = logps(model, packed())
  np.testing.assert_allclose(with_features.t2i, with_codes.t2i, atol=1e-4)
  assert (with_features.mmu != with_codes.mmu).all()


def test_the_projector_learns_from_captions(model):
  batch = packed(features=FEATURES)
  gradient = jax.jit(jax.grad(lambda m: logps(m, batch).mmu[:, 0].sum()))(model)
  assert float(jnp.abs(gradient.projector.first.kernel[...]).max()) > 0


def test_all_keys_of_a_token_are_contiguous_with_features_first():
  """The layout in another order states the official mask."""
  features, start, size = 9, 4, 20
  positions, ends = clip_rows.features_first_layout(size, features, start)
  assert sorted(positions) == list(range(size))
  seen = np.zeros((size, size), bool)
  for query, end in zip(positions, ends):
    seen[query, positions[:end]] = True
  ones = np.ones(size, int)
  index = np.arange(size)
  expected = attention_mask.mask_matrix_with_features(
    ones, ones.astype(bool), (index >= start) & (index < start + features)
  )
  np.testing.assert_array_equal(seen, expected)
