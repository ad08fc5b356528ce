"""Vectors of texts depend on the text alone, and agree with PyTorch."""

import jax
import numpy as np
import pytest
import text_encoders

from hermesflow_jax.models import text_pooling
from hermesflow_jax.runtime import sharding
from hermesflow_jax.scoring import text_encoder

TEXTS = [
  'two red rings',
  'a blue cup on the table',
  '',
  'a dog sleeps ' * 9,
  'two red rings',
]
POOL = text_pooling.masked_mean


@pytest.fixture(scope='module', params=['bert', 'mpnet'])
def folder(request):
  return str(text_encoders.converted(request.param))


def mesh_of(data, model=1):
  devices = jax.devices()[: data * model]
  return sharding.mesh_from_devices(devices, data, model)


@pytest.fixture(scope='module')
def vectors(folder):
  """The vectors of TEXTS on one device."""
  return text_encoder.TextEncoder(folder, mesh_of(1)).encode(TEXTS, POOL)


def test_any_mesh_gives_the_same_bits(folder, vectors):
  for mesh in (mesh_of(4), mesh_of(2, 2)):
    actual = text_encoder.TextEncoder(folder, mesh).encode(TEXTS, POOL)
    np.testing.assert_array_equal(actual, vectors)


def test_any_order_and_company_gives_the_same_bits(folder, vectors):
  encoder = text_encoder.TextEncoder(folder, mesh_of(1))
  others = [f'{a} {b}' for a in ('red', 'cat', 'dog') for b in TEXTS * 5]
  actual = encoder.encode([*others, *TEXTS[::-1]], POOL)[-len(TEXTS) :]
  np.testing.assert_array_equal(actual[::-1], vectors)


def test_a_long_text_counts_up_to_the_limit_of_the_tokenizer(folder):
  encoder = text_encoder.TextEncoder(folder, mesh_of(1))
  limit = 'a ring ' * 15  # 30 words, [CLS] and [SEP] fill 32 places.
  first, second = encoder.encode([limit, limit + 'a dog ' * 100], POOL)
  np.testing.assert_array_equal(first, second)


def test_a_special_token_in_a_text_is_text(folder):
  encoder = text_encoder.TextEncoder(folder, mesh_of(1))
  texts = ['a dog', 'a [SEP] dog', 'a </s> dog', 'a [MASK] dog', 'a [ dog']
  vectors = encoder.encode(texts, POOL)
  _, tokenizer = encoder._parts
  for row in tokenizer.encode(texts, 32):
    assert tokenizer.end not in row[1:-1] and tokenizer.start not in row[1:]
    assert tokenizer.pad not in row
  assert np.abs(vectors[0] - vectors[1]).max() > 1e-3


def test_vectors_are_those_of_pytorch(folder, vectors, tmp_path):
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  kind = folder.rpartition('/')[2]
  source = text_encoders.write(tmp_path, kind)
  model = transformers.AutoModel.from_pretrained(source).eval()
  tokenizer = transformers.AutoTokenizer.from_pretrained(source)
  for text, vector in zip(TEXTS, vectors):
    inputs = tokenizer(text, truncation=True, return_tensors='pt')
    inputs.pop('token_type_ids', None)
    with torch.no_grad():
      states = model(**inputs).last_hidden_state[0]
    expected = torch.nn.functional.normalize(states.mean(0), dim=0)
    # A unit vector; three layers of float32 sums.
    np.testing.assert_allclose(vector, expected.numpy(), atol=1e-5)


def test_cosines_stay_above_minus_one():
  a = np.array([[1.0, 2.0], [3.0, 0.0], [0.0, 0.0]], np.float32)
  actual = text_encoder.cosines(a, np.array([-1.0, -2.0]))
  assert actual[0] > -1 and actual[2] == 0
  np.testing.assert_allclose(actual[:2], [-1, -(5**-0.5)], atol=1e-12)
