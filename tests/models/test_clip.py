"""CLIP's tower agrees with transformers', and its features with their rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_weights

from conversions.tables import clip_table
from hermesflow_jax.models import clip_pixels
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import clip_rows
from hermesflow_jax.sequences import vocabulary

VOCAB = vocabulary.Vocab(20, 8, 19)


@pytest.fixture(scope='module')
def theirs():
  """A small random CLIPVisionModel, none of its weights trivial."""
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  sizes = torch_weights.CLIP
  model = transformers.CLIPVisionModel(
    transformers.CLIPVisionConfig(
      hidden_size=sizes.width,
      intermediate_size=sizes.mlp,
      num_hidden_layers=sizes.layers,
      num_attention_heads=sizes.heads,
      image_size=sizes.image,
      patch_size=sizes.patch,
      attn_implementation='eager',
    )
  ).eval()
  torch.manual_seed(0)
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.add_(torch.randn_like(parameter) * 0.2)
  return model


def official_names(model):
  """The state dict as it is saved, names as on the hub."""
  return {
    name
    if name.startswith('vision_model.')
    else f'vision_model.{name}': value.numpy()
    for name, value in model.state_dict().items()
  }


def test_features_are_those_of_the_penultimate_layer(theirs):
  torch = pytest.importorskip('torch')
  ours = clip_table.to_jax(official_names(theirs), torch_weights.CLIP)
  pixels = np.random.default_rng(0).normal(size=(2, 12, 12, 3))
  pixels = pixels.astype(np.float32)
  with torch.no_grad():
    expected = (
      theirs(
        pixel_values=torch.from_numpy(pixels.transpose(0, 3, 1, 2)),
        output_hidden_states=True,
      )
      .hidden_states[-2][:, 1:]
      .numpy()
    )
  actual = jax.jit(lambda m, x: m(x))(ours, pixels)
  # Features reach 5; two layers of float32 sums agree to five digits.
  np.testing.assert_allclose(actual, expected, atol=1e-4)
  single = jax.jit(lambda m, x: m(x))(ours, pixels[1])
  np.testing.assert_allclose(single, actual[1], atol=1e-5)


def test_what_goes_back_is_what_transformers_reads(tmp_path):
  pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  state = torch_weights.arrays('clip_vision')
  record = torch_weights.config('clip_vision')
  folder = torch_weights.write(tmp_path / 'back', state, record)
  model, report = transformers.CLIPVisionModel.from_pretrained(
    folder, output_loading_info=True
  )
  assert not report['missing_keys'] and not report['unexpected_keys']
  actual = official_names(model)
  assert actual.keys() == state.keys()
  for name, array in state.items():
    np.testing.assert_array_equal(actual[name], array)


def test_the_projector_is_the_official_one():
  torch = pytest.importorskip('torch')
  state = torch_weights.arrays('with_clip')
  projector = torch.nn.Sequential(
    torch.nn.Linear(12, 32), torch.nn.GELU(), torch.nn.Linear(32, 32)
  )
  projector.load_state_dict(
    {
      name.removeprefix('mm_projector.'): torch.from_numpy(array.copy())
      for name, array in state.items()
      if name.startswith('mm_projector.')
    }
  )
  features = np.random.default_rng(0).normal(size=(2, 9, 12))
  features = features.astype(np.float32)
  with torch.no_grad():
    expected = projector(torch.from_numpy(features)).numpy()
  ours = torch_weights.model('with_clip')
  np.testing.assert_allclose(ours.projector(features), expected, atol=1e-5)


def test_sizes_of_a_whole_clip_are_those_of_its_tower():
  state = torch_weights.arrays('clip_vision')
  record = {
    'model_type': 'clip',
    'text_config': {},
    'vision_config': torch_weights.config('clip_vision'),
  }
  whole = state | {
    'text_model.final_layer_norm.bias': np.zeros(3, np.float32),
    'visual_projection.weight': np.zeros((3, 3), np.float32),
    'text_projection.weight': np.zeros((3, 3), np.float32),
    'logit_scale': np.zeros((), np.float32),
    'vision_model.embeddings.position_ids': np.arange(10)[None],
  }
  sizes = clip_table.read_sizes(whole, record)
  assert sizes == torch_weights.CLIP
  back = clip_table.to_torch(clip_table.to_jax(whole, sizes))
  assert back.keys() == state.keys()
  with pytest.raises(ValueError, match='surplus text_modelx'):
    clip_table.to_jax(state | {'text_modelx': np.zeros(3, np.float32)}, sizes)


def test_images_of_another_size_are_refused():
  tower = torch_weights.model('clip_vision')
  with pytest.raises(ValueError, match='12, 12, 3'):
    tower(jnp.zeros((16, 16, 3)))


def test_pixels_are_normalised_as_clip_was_trained():
  white = clip_pixels.normalize_pixels(np.full((1, 1, 3), 255, np.uint8))
  np.testing.assert_allclose(white[0, 0], [1.9303, 2.0749, 2.1459], atol=1e-4)


def rows(answers=((7, 8), (9,))):
  return clip_rows.clip_mmu_rows(VOCAB, [1, 2], 4, [[3], [4, 5]], answers, 14)


def test_a_clip_row_by_hand():
  actual, where = rows()
  mmu, soi, eoi, pad, eos = (
    VOCAB.mmu,
    VOCAB.soi,
    VOCAB.eoi,
    VOCAB.pad,
    VOCAB.eos,
  )
  assert actual.tokens[0].tolist() == [
    mmu,
    1,
    2,
    soi,
    pad,
    pad,
    pad,
    pad,
    eoi,
    3,
    7,
    8,
    eos,
    pad,
  ]
  assert actual.labels[0].tolist() == [-100] * 10 + [7, 8, eos, -100]
  assert actual.valid[0].tolist() == [True] * 13 + [False]
  assert np.flatnonzero(where).tolist() == [4, 5, 6, 7]


def test_rows_to_be_continued_have_no_end():
  actual, _ = rows([(), ()])
  assert (actual.labels == -100).all()
  assert actual.tokens[1, 9:].tolist() == [4, 5] + [VOCAB.pad] * 3


def test_a_row_that_is_too_long_is_refused():
  with pytest.raises(ValueError, match='length must be at least 13 .* got 12'):
    clip_rows.clip_mmu_rows(VOCAB, [1, 2], 4, [[3]], [[7, 8]], 12)


def test_every_row_sees_the_features_and_all_else_is_causal():
  actual, where = rows()
  seen = np.asarray(
    attention_mask.mask_matrix_with_features(actual.ar, actual.valid, where)
  )
  causal = np.tril(np.ones((14, 14), bool))
  for b, size in enumerate((13, 13)):
    inside = seen[b, :size, :size]
    assert inside[:, where[:size]].all()
    np.testing.assert_array_equal(
      inside[:, ~where[:size]], causal[:size, :size][:, ~where[:size]]
    )
    assert not seen[b, :size, size:].any()


def test_features_take_the_places_of_their_pads():
  model = torch_weights.model('with_clip')
  actual, where = rows()
  features = np.random.default_rng(0).normal(size=(2, 4, 12))
  x = model.embed_clip(actual.tokens, features.astype(np.float32), 4)
  np.testing.assert_allclose(
    x[:, where], model.projector(features.astype(np.float32)), atol=1e-6
  )
  np.testing.assert_array_equal(
    x[:, ~where], model.embed(actual.tokens)[:, ~where]
  )


def test_an_image_reads_as_it_does_in_pytorch(theirs):
  """Tower, projector, row, mask and decoder, each side on its own."""
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  sizes, state = torch_weights.WITH_CLIP, torch_weights.arrays('with_clip')
  weights = {k: torch.from_numpy(v) for k, v in state.items()}
  phi = transformers.PhiForCausalLM(
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
  phi.load_state_dict(
    {
      k.removeprefix('showo.'): v
      for k, v in weights.items()
      if k.startswith('showo.')
    },
    strict=True,
  )
  pixels = np.random.default_rng(0).normal(size=(1, 12, 12, 3))
  pixels = pixels.astype(np.float32)
  system, features, text = [1, 2], 9, [3, 7, 8]
  begin, size = 2 + len(system), 2 + len(system) + 9 + 1 + len(text)
  with torch.no_grad():
    x = theirs(
      pixel_values=torch.from_numpy(pixels.transpose(0, 3, 1, 2)),
      output_hidden_states=True,
    ).hidden_states[-2][:, 1:]
    x = torch.nn.functional.linear(
      x, weights['mm_projector.0.weight'], weights['mm_projector.0.bias']
    )
    x = torch.nn.functional.linear(
      torch.nn.functional.gelu(x),
      weights['mm_projector.2.weight'],
      weights['mm_projector.2.bias'],
    )
    embed = phi.model.embed_tokens
    x = torch.cat(
      [
        embed(torch.tensor([[VOCAB.mmu, *system, VOCAB.soi]])),
        x,
        embed(torch.tensor([[VOCAB.eoi, *text]])),
      ],
      dim=1,
    )
    seen = torch.ones(size, size).tril()
    seen[:, begin : begin + features] = 1
    added = (1 - seen)[None, None] * torch.finfo(torch.float32).min
    expected = phi(
      inputs_embeds=x, attention_mask=added, use_cache=False
    ).logits.numpy()
  tower = clip_table.to_jax(official_names(theirs), torch_weights.CLIP)
  model = torch_weights.model('with_clip')
  created, where = clip_rows.clip_mmu_rows(
    VOCAB, system, features, [text], [()], size
  )

  @jax.jit
  def logits(tower, model, pixels):
    x = model.embed_clip(created.tokens, tower(pixels), begin)
    mask = attention_mask.mask_matrix_with_features(
      created.ar, created.valid, where
    )
    hidden, _ = model.from_embeddings(x, mask, jnp.arange(size))
    return model.logits(hidden)

  # Features of the noisy tower reach 5, logits 10.
  np.testing.assert_allclose(logits(tower, model, pixels), expected, atol=2e-4)
