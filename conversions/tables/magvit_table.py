"""MAGVIT-v2 weights: torch name | jax path | transform."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np

from conversions import model_sizes
from conversions import weight_rows
from conversions import weight_table
from hermesflow_jax.models import abstract_modules
from hermesflow_jax.models import lfq
from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config

TABLE = weight_rows.parse("""
encoder.conv_in.weight                     | encoder.conv_in.kernel                     | conv
encoder.conv_in.bias                       | encoder.conv_in.bias                       | copy
encoder.down.*.block.*.norm1.weight        | encoder.down.*.block.*.norm1.scale         | copy
encoder.down.*.block.*.norm1.bias          | encoder.down.*.block.*.norm1.bias          | copy
encoder.down.*.block.*.conv1.weight        | encoder.down.*.block.*.conv1.kernel        | conv
encoder.down.*.block.*.conv1.bias          | encoder.down.*.block.*.conv1.bias          | copy
encoder.down.*.block.*.norm2.weight        | encoder.down.*.block.*.norm2.scale         | copy
encoder.down.*.block.*.norm2.bias          | encoder.down.*.block.*.norm2.bias          | copy
encoder.down.*.block.*.conv2.weight        | encoder.down.*.block.*.conv2.kernel        | conv
encoder.down.*.block.*.conv2.bias          | encoder.down.*.block.*.conv2.bias          | copy
encoder.down.*.block.*.nin_shortcut.weight | encoder.down.*.block.*.nin_shortcut.kernel | pointwise
encoder.down.*.block.*.nin_shortcut.bias   | encoder.down.*.block.*.nin_shortcut.bias   | copy
encoder.down.*.downsample.conv.weight      | encoder.down.*.downsample.conv.kernel      | conv
encoder.down.*.downsample.conv.bias        | encoder.down.*.downsample.conv.bias        | copy
encoder.mid.block_*.norm1.weight           | encoder.mid.block_*.norm1.scale            | copy
encoder.mid.block_*.norm1.bias             | encoder.mid.block_*.norm1.bias             | copy
encoder.mid.block_*.conv1.weight           | encoder.mid.block_*.conv1.kernel           | conv
encoder.mid.block_*.conv1.bias             | encoder.mid.block_*.conv1.bias             | copy
encoder.mid.block_*.norm2.weight           | encoder.mid.block_*.norm2.scale            | copy
encoder.mid.block_*.norm2.bias             | encoder.mid.block_*.norm2.bias             | copy
encoder.mid.block_*.conv2.weight           | encoder.mid.block_*.conv2.kernel           | conv
encoder.mid.block_*.conv2.bias             | encoder.mid.block_*.conv2.bias             | copy
encoder.mid.attn_1.norm.weight             | encoder.mid.attn_1.norm.scale              | copy
encoder.mid.attn_1.norm.bias               | encoder.mid.attn_1.norm.bias               | copy
encoder.mid.attn_1.q.weight                | encoder.mid.attn_1.q.kernel                | pointwise
encoder.mid.attn_1.q.bias                  | encoder.mid.attn_1.q.bias                  | copy
encoder.mid.attn_1.k.weight                | encoder.mid.attn_1.k.kernel                | pointwise
encoder.mid.attn_1.k.bias                  | encoder.mid.attn_1.k.bias                  | copy
encoder.mid.attn_1.v.weight                | encoder.mid.attn_1.v.kernel                | pointwise
encoder.mid.attn_1.v.bias                  | encoder.mid.attn_1.v.bias                  | copy
encoder.mid.attn_1.proj_out.weight         | encoder.mid.attn_1.proj_out.kernel         | pointwise
encoder.mid.attn_1.proj_out.bias           | encoder.mid.attn_1.proj_out.bias           | copy
encoder.norm_out.weight                    | encoder.norm_out.scale                     | copy
encoder.norm_out.bias                      | encoder.norm_out.bias                      | copy
encoder.conv_out.weight                    | encoder.conv_out.kernel                    | conv
encoder.conv_out.bias                      | encoder.conv_out.bias                      | copy
encoder.quant_conv.weight                  | encoder.quant_conv.kernel                  | pointwise
encoder.quant_conv.bias                    | encoder.quant_conv.bias                    | copy
decoder.post_quant_conv.weight             | decoder.post_quant_conv.kernel             | pointwise
decoder.post_quant_conv.bias               | decoder.post_quant_conv.bias               | copy
decoder.conv_in.weight                     | decoder.conv_in.kernel                     | conv
decoder.conv_in.bias                       | decoder.conv_in.bias                       | copy
decoder.mid.block_*.norm1.weight           | decoder.mid.block_*.norm1.scale            | copy
decoder.mid.block_*.norm1.bias             | decoder.mid.block_*.norm1.bias             | copy
decoder.mid.block_*.conv1.weight           | decoder.mid.block_*.conv1.kernel           | conv
decoder.mid.block_*.conv1.bias             | decoder.mid.block_*.conv1.bias             | copy
decoder.mid.block_*.norm2.weight           | decoder.mid.block_*.norm2.scale            | copy
decoder.mid.block_*.norm2.bias             | decoder.mid.block_*.norm2.bias             | copy
decoder.mid.block_*.conv2.weight           | decoder.mid.block_*.conv2.kernel           | conv
decoder.mid.block_*.conv2.bias             | decoder.mid.block_*.conv2.bias             | copy
decoder.mid.attn_1.norm.weight             | decoder.mid.attn_1.norm.scale              | copy
decoder.mid.attn_1.norm.bias               | decoder.mid.attn_1.norm.bias               | copy
decoder.mid.attn_1.q.weight                | decoder.mid.attn_1.q.kernel                | pointwise
decoder.mid.attn_1.q.bias                  | decoder.mid.attn_1.q.bias                  | copy
decoder.mid.attn_1.k.weight                | decoder.mid.attn_1.k.kernel                | pointwise
decoder.mid.attn_1.k.bias                  | decoder.mid.attn_1.k.bias                  | copy
decoder.mid.attn_1.v.weight                | decoder.mid.attn_1.v.kernel                | pointwise
decoder.mid.attn_1.v.bias                  | decoder.mid.attn_1.v.bias                  | copy
decoder.mid.attn_1.proj_out.weight         | decoder.mid.attn_1.proj_out.kernel         | pointwise
decoder.mid.attn_1.proj_out.bias           | decoder.mid.attn_1.proj_out.bias           | copy
decoder.up.*.block.*.norm1.weight          | decoder.up.*.block.*.norm1.scale           | copy
decoder.up.*.block.*.norm1.bias            | decoder.up.*.block.*.norm1.bias            | copy
decoder.up.*.block.*.conv1.weight          | decoder.up.*.block.*.conv1.kernel          | conv
decoder.up.*.block.*.conv1.bias            | decoder.up.*.block.*.conv1.bias            | copy
decoder.up.*.block.*.norm2.weight          | decoder.up.*.block.*.norm2.scale           | copy
decoder.up.*.block.*.norm2.bias            | decoder.up.*.block.*.norm2.bias            | copy
decoder.up.*.block.*.conv2.weight          | decoder.up.*.block.*.conv2.kernel          | conv
decoder.up.*.block.*.conv2.bias            | decoder.up.*.block.*.conv2.bias            | copy
decoder.up.*.block.*.nin_shortcut.weight   | decoder.up.*.block.*.nin_shortcut.kernel   | pointwise
decoder.up.*.block.*.nin_shortcut.bias     | decoder.up.*.block.*.nin_shortcut.bias     | copy
decoder.up.*.upsample.conv.weight          | decoder.up.*.upsample.conv.kernel          | conv
decoder.up.*.upsample.conv.bias            | decoder.up.*.upsample.conv.bias            | copy
decoder.norm_out.weight                    | decoder.norm_out.scale                     | copy
decoder.norm_out.bias                      | decoder.norm_out.bias                      | copy
decoder.conv_out.weight                    | decoder.conv_out.kernel                    | conv
decoder.conv_out.bias                      | decoder.conv_out.bias                      | copy
""")


# Arrays that the quantizer stores although they follow from its sizes.
CONSTANTS = ('quantize.embedding', 'quantize.power_vals')
INTEGERS = ('quantize.power_vals',)


def constants(config: magvit_config.MagvitConfig) -> dict[str, np.ndarray]:
  """Returns CONSTANTS by name: codes [2^Z, Z], powers of two [Z]."""
  codes = np.arange(config.codebook_size, dtype=np.int32)
  return dict(
    zip(
      CONSTANTS,
      (
        np.asarray(lfq.unpack(codes, config.z_channels)),
        2 ** np.arange(config.z_channels)[::-1],
      ),
    )
  )


def read_sizes(
  state_dict: Mapping[str, Any], config: Mapping[str, Any]
) -> magvit_config.MagvitConfig:
  """Reads a checkpoint's sizes.

  Args:
    state_dict: torch name -> tensor. Tensors determine every size except the
      norm groups.
    config: `config.json`; it may repeat the sizes, as in tests/goldens.

  Raises:
    ValueError: a size is missing, or tensors and config disagree.
  """
  reader = model_sizes.Config(config)
  ch, _, kernel, _ = model_sizes.shape(state_dict, 'encoder.conv_in.weight', 4)
  z, *_ = model_sizes.shape(state_dict, 'encoder.quant_conv.weight', 4)
  # The file holds 2^Z codes, so memory for as many is within reach.
  codes, _ = model_sizes.shape(state_dict, 'quantize.embedding', 2)
  if codes != 2 ** min(z, 64):
    raise ValueError(f'quantize.embedding must have 2^{z} rows, got {codes}')

  def widths(levels):
    names = (
      f'{levels}.{i}.block.0.conv1.weight'
      for i in range(model_sizes.count(state_dict, f'{levels}.*.block.'))
    )
    return tuple(
      max(1, model_sizes.shape(state_dict, n, 4)[0] // ch) for n in names
    )

  def blocks(levels, number):
    return tuple(
      model_sizes.count(state_dict, f'{levels}.{i}.block.*.')
      for i in range(number)
    )

  sizes = dict(
    ch=ch,
    encoder_ch_mult=widths('encoder.down'),
    decoder_ch_mult=widths('decoder.up'),
    z_channels=z,
  )
  levels = len(sizes['encoder_ch_mult'])
  sizes |= dict(
    encoder_num_res_blocks=blocks('encoder.down', levels),
    decoder_num_res_blocks=blocks('decoder.up', levels),
  )
  reader.agree(
    **{
      name: list(value) if isinstance(value, tuple) else value
      for name, value in sizes.items()
    },
    codebook_size=2 ** min(z, 64),
  )
  groups = reader.number('num_groups', 32)
  reader.check()
  return magvit_config.MagvitConfig(
    **sizes,
    kernel=kernel,
    num_groups=groups,
    mid_attention='encoder.mid.attn_1.q.weight' in state_dict,
  )


def official(config: magvit_config.MagvitConfig) -> dict[str, Any]:
  """Returns the official `config.json`, without sizes for Show-o's tokenizer.

  Raises:
    ValueError: the PyTorch model has no such layers.
  """
  if config.patch != 1 or not config.num_groups or not config.mid_attention:
    norms = 'norms' if config.num_groups else 'no norms'
    attention = 'attention' if config.mid_attention else 'no attention'
    raise ValueError(
      'config must have patch 1, norms and attention, as the official '
      f'MAGVIT-v2, got patch {config.patch}, {norms} and {attention}: the '
      'official code has no form for this image tokenizer. Convert only the '
      'transformer, by the kind showo'
    )
  record = {'_class_name': 'MAGVITv2', '_diffusers_version': '0.30.1'}
  if config != magvit_config.SHOW_O:
    record |= {
      name: list(value) if isinstance(value, tuple) else value
      for name, value in dataclasses.asdict(config).items()
    }
  return record


def to_jax(
  state_dict: Mapping[str, Any],
  config: magvit_config.MagvitConfig,
  progress=iter,
) -> magvit.Magvit:
  """Builds a tokenizer from PyTorch tensors; ValueError lists all faults."""
  abstract = abstract_modules.abstract_module(magvit.Magvit, config)
  return weight_table.to_jax(
    state_dict, TABLE, abstract, constants(config), progress
  )


def to_torch(model: magvit.Magvit) -> dict[str, np.ndarray]:
  """Returns a tokenizer's PyTorch state dict, the inverse of `to_jax`."""
  return weight_table.to_torch(model, TABLE, constants(model.config))
