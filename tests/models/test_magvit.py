"""The tokenizer agrees with the official one, in numbers and in names."""

import dataclasses
import json

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from conversions import weight_rows
from conversions import weight_table
from conversions.tables import magvit_table
from hermesflow_jax.models import abstract_modules
from hermesflow_jax.models import lfq
from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_blocks
from hermesflow_jax.models import magvit_config

TINY = magvit_config.MagvitConfig(
  ch=8,
  encoder_ch_mult=(1, 2),
  decoder_ch_mult=(1, 2),
  encoder_num_res_blocks=(1, 1),
  decoder_num_res_blocks=(1, 1),
  z_channels=4,
  patch=4,
  num_groups=4,
)


@pytest.fixture(scope='module')
def weights(goldens):
  """The official small state dict."""
  return safetensors.numpy.load_file(
    goldens / 'magvit_small' / 'model.safetensors'
  )


@pytest.fixture(scope='module')
def config(goldens):
  """The sizes of the official small model."""
  sizes = json.loads((goldens / 'magvit_small' / 'config.json').read_text())
  fields = {
    field.name for field in dataclasses.fields(magvit_config.MagvitConfig)
  }
  return magvit_config.MagvitConfig(
    **{
      name: tuple(value) if isinstance(value, list) else value
      for name, value in sizes.items()
      if name in fields
    }
  )


@pytest.fixture(scope='module')
def model(weights, config):
  """The official small model in JAX."""
  return magvit_table.to_jax(weights, config)


@pytest.fixture(scope='module')
def cases(goldens):
  """Inputs and outputs of the official small model: square, not square."""
  with np.load(goldens / 'magvit_small' / 'io.npz') as arrays:
    return dict(arrays)


def channels_last(images):
  """[B, C, H, W] -> [B, H, W, C]."""
  return np.moveaxis(images, 1, -1)


@pytest.mark.parametrize('case', [0, 1])
def test_latents_codes_and_pixels_equal_the_official_ones(model, cases, case):
  z = jax.jit(lambda m, x: m.encode(x))(
    model, channels_last(cases[f'pixels_{case}'])
  )
  codes = model.codes(z)
  pixels = jax.jit(lambda m, c: m.decode(c))(model, codes)
  np.testing.assert_allclose(z, channels_last(cases[f'z_{case}']), atol=1e-4)
  np.testing.assert_array_equal(
    codes.reshape(codes.shape[0], -1), cases[f'indices_{case}']
  )
  np.testing.assert_allclose(
    pixels, channels_last(cases[f'recon_{case}']), atol=1e-4
  )


@pytest.mark.parametrize('case', [0, 1])
def test_quantizer_losses_equal_the_official_ones(cases, case):
  z = channels_last(cases[f'z_{case}'])
  np.testing.assert_allclose(
    0.1 * lfq.entropy_loss(z), cases[f'entropy_loss_{case}'], atol=1e-6
  )
  np.testing.assert_allclose(
    0.1 * (1 + 0.25) * lfq.commitment_loss(z),
    cases[f'quantizer_loss_{case}'],
    atol=1e-6,
  )


def test_weights_go_back_to_the_same_state_dict(model, weights):
  back = magvit_table.to_torch(model)
  assert set(back) == set(weights)
  for name, array in weights.items():
    np.testing.assert_array_equal(back[name], array)
    assert back[name].dtype == array.dtype


def test_all_faults_of_a_state_dict_are_named_at_once(weights, config):
  faulty = dict(weights)
  del faulty['encoder.conv_in.weight']
  faulty['decoder.conv_out.bias'] = np.zeros(4, np.float32)
  faulty['loss.weight'] = np.zeros(1, np.float32)
  faulty['quantize.power_vals'] = weights['quantize.power_vals'][::-1]
  with pytest.raises(ValueError) as error:
    magvit_table.to_jax(faulty, config)
  for name in (
    'missing encoder.conv_in.weight',
    'decoder.conv_out.bias: shape must be (3,), got (4,)',
    'surplus loss.weight',
    'quantize.power_vals: differs',
  ):
    assert name in str(error.value)


def test_stacked_rows_gather_the_layers_and_give_them_back():
  class Stack(nnx.Module):
    def __init__(self):
      self.kernel = nnx.Param(jnp.zeros([3, 2, 4]))

  rows = weight_rows.parse('layers.*.fc.weight | kernel | transpose')
  state = {
    f'layers.{i}.fc.weight': np.full([4, 2], i, np.float32) for i in range(3)
  }
  loaded = weight_table.to_jax(state, rows, nnx.eval_shape(Stack))
  np.testing.assert_array_equal(loaded.kernel[:, 0, 0], [0, 1, 2])
  back = weight_table.to_torch(loaded, rows)
  for name, array in state.items():
    np.testing.assert_array_equal(back[name], array)


def test_the_full_size_model_has_95_million_parameters_and_uses_every_row():
  full = abstract_modules.abstract_module(magvit.Magvit, magvit_config.SHOW_O)
  count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(full)))
  assert round(count / 1e6, 1) == 95.4
  assert magvit_config.SHOW_O.reduction == 16
  assert not weight_table.unused_rows(full, magvit_table.TABLE)


@pytest.fixture(scope='module')
def tiny():
  """A small random model with folded pixels."""
  return jax.jit(lambda key: magvit.Magvit(TINY, nnx.Rngs(key)))(
    jax.random.key(0)
  )


def test_any_leading_axes_give_the_same_codes_and_pixels(tiny):
  pixels = jax.random.uniform(
    jax.random.key(0), [2, 2, 16, 24, 3], minval=-1, maxval=1
  )
  encode = jax.jit(lambda m, x: m.encode(x))
  decode = jax.jit(lambda m, c: m.decode(c))
  z = encode(tiny, pixels)
  assert z.shape == (2, 2, 2, 3, 4)
  # Sums run in another order for another batch.
  np.testing.assert_allclose(encode(tiny, pixels[1, 0]), z[1, 0], atol=1e-5)
  codes = tiny.codes(z)
  decoded = decode(tiny, codes)
  assert decoded.shape == pixels.shape
  np.testing.assert_allclose(
    decode(tiny, codes[0, 1]), decoded[0, 1], atol=1e-5
  )


def test_compute_is_in_the_asked_dtype_and_norms_stay_float32():
  half = nnx.eval_shape(lambda: magvit.Magvit(TINY, nnx.Rngs(0), jnp.bfloat16))
  dtype = lambda module, *shape: (
    jax.eval_shape(lambda m, x: m(x), module, jnp.zeros(shape)).dtype
  )
  assert dtype(half.encoder.conv_in, 1, 2, 2, 48) == jnp.bfloat16
  assert dtype(half.encoder.norm_out, 1, 2, 2, 16) == jnp.float32
  assert (
    jax.eval_shape(lambda m, x: m.encode(x), half, jnp.zeros([8, 8, 3])).dtype
    == jnp.float32
  )


@pytest.mark.parametrize('name', ['encode', 'decode', 'decode_latents'])
def test_every_product_has_the_highest_precision(tiny, name):
  """On TPUs the default is bfloat16, which flips bits near 0."""
  shape = {'encode': (8, 8, 3), 'decode': (1, 1), 'decode_latents': (1, 1, 4)}
  dtype = jnp.int32 if name == 'decode' else jnp.float32
  with jax.default_matmul_precision('default'):
    text = (
      jax.jit(lambda model, x: getattr(model, name)(x))
      .lower(tiny, jnp.zeros(shape[name], dtype))
      .as_text()
    )
  products = [
    line
    for line in text.splitlines()
    if 'stablehlo.convolution' in line or 'stablehlo.dot_general' in line
  ]
  # Of each kind: attention has two products beside those of layers.
  assert sum('dot_general' in line for line in products) >= 7
  assert sum('convolution' in line for line in products) >= 7
  for line in products:
    assert line.count('HIGHEST') == 2, line


def test_folding_pixels_is_undone_by_unfolding():
  x = jnp.arange(2 * 8 * 12 * 3).reshape(2, 8, 12, 3)
  folded = magvit_blocks.space_to_depth(x, 4)
  np.testing.assert_array_equal(folded[1, 1, 2], x[1, 4:8, 8:12].reshape(-1))
  np.testing.assert_array_equal(magvit_blocks.depth_to_space(folded, 4), x)


@pytest.mark.parametrize('shape', [(12, 16, 3), (16, 20, 3), (16, 16, 4)])
def test_wrong_image_shapes_are_refused(tiny, shape):
  with pytest.raises(ValueError, match='multiples of 8'):
    tiny.encode(jnp.zeros(shape))


def test_sizes_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match='decoder_ch_mult must have 2 .* got 1'):
    dataclasses.replace(TINY, decoder_ch_mult=(1,))
  with pytest.raises(ValueError, match='multiple of num_groups'):
    dataclasses.replace(TINY, ch=10)
