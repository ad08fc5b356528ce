"""A complete CLIP agrees with transformers', and scores as the paper does."""

import copy
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_weights

from conversions import from_pytorch
from conversions.files import source
from conversions.tables import clip_model_table
from hermesflow_jax.models import abstract_modules
from hermesflow_jax.models import clip_layers
from hermesflow_jax.models import clip_pixels
from hermesflow_jax.models import clip_scores
from hermesflow_jax.models import clip_text

SIZES = torch_weights.CLIP_MODEL
# Two texts, each with its end and pads: 39 is the highest id, 5 another end.
TOKENS = {
  clip_text.HIGHEST_ID: [[1, 7, 8, 39, 0, 0], [1, 3, 4, 5, 6, 39]],
  5: [[1, 7, 8, 5, 5, 5], [1, 3, 4, 20, 6, 5]],
}
PIXELS = np.random.default_rng(0).normal(size=(2, 12, 12, 3))
PIXELS = PIXELS.astype(np.float32)


def config_of(eos, activation='quick_gelu'):
  tower = dict(activation=activation)
  return dataclasses.replace(
    SIZES,
    vision=dataclasses.replace(SIZES.vision, **tower),
    text=dataclasses.replace(SIZES.text, eos=eos, **tower),
  )


@pytest.fixture(
  scope='module', params=[(2, 'quick_gelu'), (5, 'gelu')], ids=str
)
def pair(request, tmp_path_factory):
  """(transformers' CLIPModel, ours from the files that it saves)."""
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  folder = tmp_path_factory.mktemp('clip')
  record = clip_model_table.official(config_of(*request.param), 'float32')
  (folder / 'config.json').write_text(json.dumps(record))
  config = transformers.CLIPConfig.from_pretrained(folder)
  config._attn_implementation = 'eager'
  model = transformers.CLIPModel(config).eval()
  torch.manual_seed(0)
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.add_(torch.randn_like(parameter) * 0.2)
  model.save_pretrained(folder)
  ours, _ = from_pytorch.read_model('clip', source.find(str(folder)), 0)
  assert ours.config == config_of(*request.param)
  return model, ours


def test_everything_that_transformers_computes(pair):
  """All layers, pooled features, unit vectors, logits; both kinds of ends."""
  torch = pytest.importorskip('torch')
  theirs, ours = pair
  tokens = np.array(TOKENS[ours.config.text.eos])
  with torch.no_grad():
    expected = theirs(
      input_ids=torch.from_numpy(tokens),
      pixel_values=torch.from_numpy(PIXELS.transpose(0, 3, 1, 2)),
      output_hidden_states=True,
    )

  @jax.jit
  def compute(model, pixels, tokens):
    vision, text = model.vision, model.text
    images = model.image_features(pixels)
    texts = model.text_features(tokens)
    return dict(
      vision_states=clip_layers.hidden_states(
        vision.layers, vision.embed(pixels)
      ),
      text_states=clip_layers.hidden_states(
        text.layers, text.embed(tokens), causal=True
      ),
      vision_pooled=vision.pooled(pixels),
      text_last=text(tokens),
      text_pooled=text.pooled(tokens),
      images=images,
      texts=texts,
      logits=model.logits(images, texts),
      cosines=model.cosines(pixels, tokens) * jnp.exp(model.logit_scale[...]),
    )

  vision, text = expected.vision_model_output, expected.text_model_output
  features = theirs.vision_model(
    pixel_values=torch.from_numpy(PIXELS.transpose(0, 3, 1, 2))
  ).pooler_output
  pooled = theirs.text_model(input_ids=torch.from_numpy(tokens)).pooler_output
  answers = dict(
    vision_states=torch.stack(vision.hidden_states),
    text_states=torch.stack(text.hidden_states),
    vision_pooled=features,
    text_last=text.last_hidden_state,
    text_pooled=pooled,
    images=expected.image_embeds,
    texts=expected.text_embeds,
    logits=expected.logits_per_image,
    cosines=expected.logits_per_image.diagonal(),
  )
  actual = compute(ours, PIXELS, tokens)
  assert actual.keys() == answers.keys()
  for name, answer in answers.items():
    answer = answer.detach().numpy()
    scale = np.abs(answer).max()
    np.testing.assert_allclose(
      actual[name], answer, rtol=0, atol=1e-4 * scale, err_msg=name
    )


def test_pads_change_nothing(pair):
  torch = pytest.importorskip('torch')
  theirs, ours = pair
  tokens = np.array(TOKENS[ours.config.text.eos])[:1]
  texts = jax.jit(lambda m, t: m.text_features(t))
  expected = texts(ours, tokens[:, :4])
  np.testing.assert_allclose(texts(ours, tokens), expected, atol=1e-6)
  with torch.no_grad():
    masked = theirs.get_text_features(
      input_ids=torch.from_numpy(tokens),
      attention_mask=torch.tensor([[1, 1, 1, 1, 0, 0]]),
    ).pooler_output.numpy()
  np.testing.assert_allclose(
    masked / np.linalg.norm(masked), expected, atol=1e-5
  )


def test_what_goes_back_is_what_transformers_reads(tmp_path):
  pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  state = torch_weights.arrays('clip')
  folder = torch_weights.write(
    tmp_path / 'back', state, torch_weights.config('clip')
  )
  model, report = transformers.CLIPModel.from_pretrained(
    folder, output_loading_info=True
  )
  assert not report['missing_keys'] and not report['unexpected_keys']
  actual = {name: a.numpy() for name, a in model.state_dict().items()}
  assert actual.keys() == state.keys()
  for name, array in state.items():
    np.testing.assert_array_equal(actual[name], array)


def test_doubled_records_of_2021_are_read_as_transformers_does():
  """The second record wins, with the defaults of the keys that it lacks."""
  transformers = pytest.importorskip('transformers')
  record = torch_weights.config('clip') | {
    'text_config_dict': {'hidden_size': 16, 'num_attention_heads': 2}
  }
  theirs = transformers.CLIPConfig(**copy.deepcopy(record)).text_config
  ours = clip_model_table.read_sizes(torch_weights.arrays('clip'), record).text
  assert (ours.heads, ours.eos) == (2, 49407)
  assert (theirs.num_attention_heads, theirs.eos_token_id) == (2, 49407)


def test_pixels_of_clip_are_those_of_transformers():
  pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  processor = getattr(transformers, 'CLIPImageProcessorPil', None)
  if processor is None:
    pytest.skip('this release of transformers has no processor without torch')
  # With an even number of cropped pixels, so that both crop the same.
  image = np.random.default_rng(0).integers(0, 256, (40, 52, 3), np.uint8)
  expected = processor(
    size={'shortest_edge': 20}, crop_size={'height': 20, 'width': 20}
  )(image, return_tensors='np')['pixel_values']
  actual = clip_pixels.prepare_pixels(image[None], 20)
  np.testing.assert_allclose(actual, expected.transpose(0, 2, 3, 1), atol=1e-6)
  np.testing.assert_array_equal(
    actual,
    clip_pixels.normalize_pixels(clip_pixels.crop_square(image[None], 20)),
  )


def test_in_bfloat16_features_are_near():
  model = torch_weights.model('clip')
  low = abstract_modules.abstract_module(
    clip_scores.ClipModel, SIZES.with_dtype(jnp.bfloat16)
  )
  low = jax.tree.unflatten(jax.tree.structure(low), jax.tree.leaves(model))
  tokens = np.array(TOKENS[2])
  features = jax.jit(lambda m, x, t: (m.image_features(x), m.text_features(t)))
  for a, b in zip(
    features(low, PIXELS, tokens), features(model, PIXELS, tokens)
  ):
    assert a.dtype == jnp.float32
    # bfloat16 has 8 bits; features are unit vectors.
    np.testing.assert_allclose(a, b, atol=0.03)


def test_texts_that_are_too_long_are_refused():
  model = torch_weights.model('clip')
  with pytest.raises(ValueError, match='at most 9 ids in a row, got 10'):
    model.text_features(jnp.zeros((1, 10), jnp.int32))
