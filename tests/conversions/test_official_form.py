"""What goes out has the names that the official loaders read.

The facts come from the official classes at work (Show-o's ModelMixin with
diffusers 0.30.1, torch 2.13): `from_pretrained` reads `config.json` and, in
this order, `diffusion_pytorch_model.safetensors.index.json`,
`pytorch_model.safetensors`, `pytorch_model.bin`; it passes the values of
`config.json` to the class, and wants every tensor under the name of its module.
"""

import json

import conversion_files
import jax
import numpy as np
import pytest
import safetensors
import tiny_world
import torch_weights

from conversions import to_pytorch
from conversions.tables import magvit_table
from conversions.tables import showo_table
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.models import abstract_modules
from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.sequences import vocabulary

# Keys that the official `save_pretrained` writes, with the types of values.
SHOW_O_KEYS = {
  '_class_name': str,
  '_diffusers_version': str,
  'codebook_size': int,
  'llm_model_path': str,
  'llm_vocab_size': int,
  'load_from_showo': bool,
  'mask_token_id': int,
  'num_vq_tokens': int,
  'vocab_size': int,
  'w_clip_vit': bool,
}
MODULES = (
  'input_layernorm',
  'mlp.fc1',
  'mlp.fc2',
  'self_attn.dense',
  'self_attn.k_layernorm',
  'self_attn.k_proj',
  'self_attn.q_layernorm',
  'self_attn.q_proj',
  'self_attn.v_proj',
)


def show_o_names(layers):
  """The names of the official Show-o's state dict."""
  modules = [f'model.layers.{i}.{m}' for i in range(layers) for m in MODULES]
  modules += ['model.final_layernorm', 'lm_head']
  names = [f'{m}.{end}' for m in modules for end in ('weight', 'bias')]
  return {f'showo.{name}' for name in [*names, 'model.embed_tokens.weight']}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """A trained model as `learn` saves it, in the folder of its run."""
  root = tmp_path_factory.mktemp('trained')
  parts = model_bundle.load_bundle(str(tiny_world.bundle(root / 'base')))
  run = root / 'run'
  trained_model.save_model(str(run / 'checkpoints/1'), parts, 'base', {})
  return run, parts.model


def test_a_trained_run_goes_out_in_the_official_form(run, trained, tmp_path):
  folder, model = trained
  code, _ = run('showo', folder, tmp_path / 'out', '--reverse')
  assert code == 0
  assert {path.name for path in (tmp_path / 'out').iterdir()} == {
    'config.json',
    'pytorch_model.safetensors',
  }
  record = json.loads((tmp_path / 'out' / 'config.json').read_text())
  assert {k: type(record[k]) for k in SHOW_O_KEYS} == SHOW_O_KEYS
  assert record['_class_name'] == 'Showo'
  # The class takes the mask to be the last token.
  assert record['mask_token_id'] == record['vocab_size'] - 1
  with safetensors.safe_open(
    tmp_path / 'out' / 'pytorch_model.safetensors', framework='numpy'
  ) as file:
    assert file.metadata()['format'] == 'pt'
    assert set(file.keys()) == show_o_names(model.config.decoder.layers)


def test_what_goes_out_of_a_run_comes_in(run, trained, tmp_path):
  folder, model = trained
  assert run('showo', folder, tmp_path / 'out', '--reverse')[0] == 0
  assert run('showo', tmp_path / 'out', tmp_path / 'ours')[0] == 0
  again, _ = to_pytorch.load_jax_model('showo', str(tmp_path / 'ours'), None)
  for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(model), strict=True):
    np.testing.assert_array_equal(a, b)


def test_the_config_of_a_released_show_o_has_no_key_beside_the_official():
  sizes = showo.ShowOConfig(
    vocabulary.Vocab(50295, 8192, 50256), phi.PhiConfig(), 256
  )
  record = showo_table.official(sizes, showo_table.MAX_TEXT)
  assert {k: type(v) for k, v in record.items()} == SHOW_O_KEYS
  assert (record['vocab_size'], record['mask_token_id']) == (58498, 58497)


def test_a_show_o_of_full_size_has_the_official_tensors():
  sizes = showo.ShowOConfig(
    vocabulary.Vocab(50295, 8192, 50256), phi.PhiConfig(), 256
  )
  model = abstract_modules.abstract_module(showo.ShowO, sizes)
  names = set(to_pytorch.entries_of('showo', model))
  assert names == show_o_names(24)


def test_a_tokenizer_goes_out_in_the_official_form(run, tmp_path):
  src = conversion_files.folder_of(tmp_path / 'src', 'magvitv2')
  assert run('magvitv2', src, tmp_path / 'ours')[0] == 0
  code, _ = run('magvitv2', tmp_path / 'ours', tmp_path / 'out', '--reverse')
  assert code == 0
  assert {path.name for path in (tmp_path / 'out').iterdir()} == {
    'config.json',
    'pytorch_model.safetensors',
  }


def test_a_tokenizer_of_full_size_has_the_official_tensors():
  """The official class has 95,387,004 parameters, 382 tensors, no arguments."""
  config = magvit_config.SHOW_O
  model = abstract_modules.abstract_module(magvit.Magvit, config)
  entries = to_pytorch.entries_of('magvitv2', model)
  buffers = {'quantize.embedding', 'quantize.power_vals'}
  assert buffers < set(entries) and len(entries) == 382
  parameters = {n: e for n, e in entries.items() if n not in buffers}
  assert sum(np.prod(e.shape) for e in parameters.values()) == 95_387_004
  assert magvit_table.official(config) == {
    '_class_name': 'MAGVITv2',
    '_diffusers_version': '0.30.1',
  }


def test_a_projector_has_the_official_tensors(run, tmp_path):
  src = conversion_files.folder_of(tmp_path / 'src', 'with_clip')
  assert run('showo', src, tmp_path / 'ours')[0] == 0
  assert run('showo', tmp_path / 'ours', tmp_path / 'out', '--reverse')[0] == 0
  names = set(conversion_files.bits(tmp_path / 'out'))
  layers = torch_weights.WITH_CLIP.decoder.layers
  assert names - show_o_names(layers) == {
    f'mm_projector.{i}.{end}' for i in (0, 2) for end in ('weight', 'bias')
  }
