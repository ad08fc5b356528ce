"""Sizes and names of a complete CLIP, as transformers reads and writes them."""

import conversion_files
import jax
import numpy as np
import pytest
import torch_weights

from conversions.tables import clip_model_table

POSITIONS = {
  'text_model.embeddings.position_ids': np.arange(9)[None],
  'vision_model.embeddings.position_ids': np.arange(10)[None],
}


def sizes_of(**changes):
  record = torch_weights.config('clip')
  return clip_model_table.read_sizes(
    torch_weights.arrays('clip'), record | changes
  )


def text_config(**changes):
  return {'text_config': torch_weights.config('clip')['text_config'] | changes}


def test_sizes_are_those_of_the_tensors_and_the_config():
  assert sizes_of() == torch_weights.CLIP_MODEL


@pytest.mark.parametrize(
  'changes, output',
  [
    (text_config(hidden_size=8), 'hidden_size must be 16, got 8'),
    (text_config(hidden_act='relu'), "'quick_gelu' or 'gelu', got 'relu'"),
    (text_config(vocab_size=7), 'vocab_size must be 40, got 7'),
    (text_config(eos_token_id=[1, 2]), 'eos_token_id must be a number'),
    ({'projection_dim': 3}, 'projection_dim must be 10, got 3'),
    ({'model_type': 'siglip'}, "model_type must be 'clip', got 'siglip'"),
    ({'text_config': 3}, 'text_config must be a record'),
    ({'vision_config': {'patch_size': 3}}, 'patch_size must be 4, got 3'),
    (text_config(num_attention_heads=5), 'width must be a multiple of heads'),
  ],
)
def test_a_config_that_does_not_fit_is_refused(changes, output):
  with pytest.raises(ValueError, match=output):
    sizes_of(**changes)


def test_missing_keys_have_the_values_of_transformers():
  sizes = sizes_of(text_config={}, vision_config={'num_attention_heads': 2})
  assert (sizes.text.heads, sizes.text.eos) == (8, 49407)
  assert sizes.vision == torch_weights.CLIP


def test_buffers_that_count_positions_are_not_read(run, tmp_path):
  src = conversion_files.folder_of(tmp_path / 'src', 'clip', **POSITIONS)
  assert run('clip', src, tmp_path / 'ours')[0] == 0
  assert run('clip', tmp_path / 'ours', tmp_path / 'back', '--reverse')[0] == 0
  back = conversion_files.bits(tmp_path / 'back')
  expected = conversion_files.bits(src)
  assert back == {k: v for k, v in expected.items() if k not in POSITIONS}
  wrong = {k: v[:, ::-1] for k, v in POSITIONS.items()}
  src = conversion_files.folder_of(tmp_path / 'wrong', 'clip', **wrong)
  code, output = run('clip', src, tmp_path / 'others')
  assert code == 2 and ' 2 faults' in output and 'position_ids' in output


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_the_tower_of_a_complete_clip_is_taken(run, tmp_path, prefix):
  state = torch_weights.arrays('clip') | POSITIONS
  renamed = {prefix + name: array for name, array in state.items()}
  src = torch_weights.write(
    tmp_path / 'src', renamed, torch_weights.config('clip')
  )
  assert run('clip_vision', src, tmp_path / 'ours')[0] == 0
  assert (
    run('clip_vision', tmp_path / 'ours', tmp_path / 'back', '--reverse')[0]
    == 0
  )
  back = conversion_files.bits(tmp_path / 'back')
  assert back.keys() == torch_weights.arrays('clip_vision').keys()
  assert all(array[2] == state[name].tobytes() for name, array in back.items())


def test_a_tower_alone_is_no_complete_clip(run, tmp_path):
  src = conversion_files.folder_of(tmp_path / 'src', 'clip_vision')
  code, output = run('clip', src, tmp_path / 'ours')
  assert code == 2 and 'KIND must be clip_vision for these' in output


def test_activations_of_a_complete_clip_are_compared(run_verify, tmp_path):
  src = conversion_files.folder_of(tmp_path / 'src', 'clip')
  model = torch_weights.model('clip')
  pixels = np.random.default_rng(0).normal(size=(2, 3, 12, 12))
  tokens = np.array([[1, 7, 8, 39], [1, 39, 0, 0]])
  features = jax.jit(lambda m, x, t: (m.image_features(x), m.text_features(t)))
  images, texts = map(
    np.asarray, features(model, pixels.transpose(0, 2, 3, 1), tokens)
  )
  scale = np.exp(np.asarray(model.logit_scale[...]))
  arrays = {
    'pixel_values': pixels.astype(np.float32),
    'input_ids': tokens,
    'image_embeds': images,
    'text_embeds': texts,
    'logits_per_image': scale * images @ texts.T,
  }
  assert run_verify('clip', src, arrays)[0] == 0
  code, lines = run_verify('clip', src, arrays | {'input_ids': tokens[:, ::-1]})
  assert code == 1
  assert [line.split()[0] for line in lines] == ['ok', 'FAILED', 'FAILED', '1']
