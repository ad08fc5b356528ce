"""Sizes of released models are told by their tensors and their config."""

import dataclasses

from flax import nnx
import pytest

import configs.pair_dpo
from conversions import model_sizes
from conversions import weight_table
from conversions.tables import clip_table
from conversions.tables import magvit_table
from conversions.tables import showo_table
from hermesflow_jax.checkpoints import model_folder
from hermesflow_jax.models import clip
from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import settings
from hermesflow_jax.sequences import vocabulary

VOCAB = vocabulary.Vocab(50295, 8192, 50256)
# As the release writes it.
OFFICIAL = {
  '_class_name': 'Showo',
  'vocab_size': 58498,
  'llm_vocab_size': 50295,
  'llm_model_path': 'microsoft/phi-1_5',
  'codebook_size': 8192,
  'num_vq_tokens': 256,
  'w_clip_vit': False,
  'load_from_showo': True,
}


def show_o_shapes(clip_width=0):
  """The tensors of a full-size Show-o, without any memory."""
  config = showo.ShowOConfig(VOCAB, phi.PhiConfig(), 256, clip_width)
  model = nnx.eval_shape(lambda: showo.ShowO(config, rngs=nnx.Rngs(0)))
  return weight_table.entries(model, showo_table.rows_of(config))


@pytest.mark.parametrize('pixels', [256, 512])
def test_a_released_show_o_is_what_its_config_wants(pixels):
  tokens = (pixels // 16) ** 2
  actual, max_text = showo_table.read_sizes(
    show_o_shapes(), OFFICIAL | {'num_vq_tokens': tokens}
  )
  expected = settings.build(
    model_folder.Sizes,
    configs.pair_dpo.get_config(f'show_o_{pixels}').sizes.to_dict(),
  )
  assert actual.vocab == expected.vocab
  assert identities.same_model(actual.decoder, expected.decoder)
  assert actual.image_tokens == expected.grid[0] * expected.grid[1]
  assert max_text == expected.lengths.max_text


def test_the_clip_variant_says_so_by_its_tensors():
  record = OFFICIAL | {'w_clip_vit': True}
  actual, _ = showo_table.read_sizes(show_o_shapes(1024), record)
  assert actual.clip_width == 1024
  with pytest.raises(ValueError, match='w_clip_vit must be False, got True'):
    showo_table.read_sizes(show_o_shapes(), record)


def test_a_released_tokenizer_needs_no_config():
  model = nnx.eval_shape(
    lambda: magvit.Magvit(magvit_config.SHOW_O, nnx.Rngs(0))
  )
  actual = weight_table.entries(
    model, magvit_table.TABLE, magvit_table.constants(magvit_config.SHOW_O)
  )
  assert magvit_table.read_sizes(actual, {}) == magvit_config.SHOW_O
  expected = settings.build(
    model_folder.Sizes,
    configs.pair_dpo.get_config('show_o_512').sizes.to_dict(),
  )
  assert magvit_config.SHOW_O == expected.tokenizer


@pytest.mark.parametrize('whole', [False, True])
def test_a_released_tower_is_the_default_one(whole):
  model = nnx.eval_shape(lambda: clip.Clip(clip.ClipConfig(), rngs=nnx.Rngs(0)))
  actual = weight_table.entries(model, clip_table.TABLE)
  record = {
    'hidden_size': 1024,
    'image_size': 336,
    'intermediate_size': 4096,
    'num_attention_heads': 16,
    'num_hidden_layers': 24,
    'patch_size': 14,
    'hidden_act': 'quick_gelu',
    'layer_norm_eps': 1e-05,
  }
  if whole:
    record = {'model_type': 'clip', 'vision_config': record}
  assert clip_table.read_sizes(actual, record) == clip.ClipConfig()
  with pytest.raises(ValueError, match='num_attention_heads is missing'):
    clip_table.read_sizes(actual, {'vision_config': []})


def test_what_goes_back_reads_as_what_it_was():
  sizes = dataclasses.replace(
    showo.ShowOConfig(VOCAB, phi.PhiConfig(rope_theta=5e4, norm_eps=1e-6)),
    image_tokens=1024,
  )
  record = showo_table.official(sizes, 77)
  assert showo_table.read_sizes(show_o_shapes(), record) == (sizes, 77)
  plain = showo_table.official(showo.ShowOConfig(VOCAB, phi.PhiConfig()), 128)
  assert set(plain) - {'_diffusers_version', 'mask_token_id'} == set(OFFICIAL)


def test_numbers_of_a_config_are_numbers():
  reader = model_sizes.Config({'a': 3, 'b': True, 'c': -1, 'd': 2, 'e': '4'})
  assert reader.number('a') == 3
  assert reader.number('d', kind=float) == 2.0
  assert reader.number('z', 7) == 7
  reader.check()
  for name in 'bce':
    reader.number(name)
  reader.number('absent')
  with pytest.raises(
    ValueError,
    match='b must.* got True.*c must.* got -1.*e must.* got .4.*absent',
  ):
    reader.check()


def test_layers_are_counted_by_their_numbers():
  names = dict.fromkeys(['m.0.a', 'm.1.a', 'm.10.b', 'm.x.a', 'n.m.7.a'])
  assert model_sizes.count(names, 'm.*.') == 3


def test_a_model_without_its_last_layers_is_described():
  """Shards without an index may lack layers, and no tensor tells."""
  config = showo.ShowOConfig(VOCAB, phi.PhiConfig(layers=23), 256, 0)
  text = model_sizes.describe(config, OFFICIAL)
  assert text.startswith('23 layers of width 2,048; warning: microsoft/phi-1_5')
  assert model_sizes.describe(config, {}) == '23 layers of width 2,048'
  full = dataclasses.replace(config, decoder=phi.PhiConfig())
  assert model_sizes.describe(full, OFFICIAL) == '24 layers of width 2,048'
  assert model_sizes.describe(VOCAB, OFFICIAL) == ''
