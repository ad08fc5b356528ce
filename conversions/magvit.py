"""The names of MAGVIT-v2's weights: torch name | jax path | move."""

from collections.abc import Mapping

from flax import nnx
import numpy as np

from conversions import table
from hermesflow_jax.models import lfq
from hermesflow_jax.models import magvit

# ruff: noqa: E501
TABLE = table.parse("""
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


def constants(config: magvit.MagvitConfig) -> dict[str, np.ndarray]:
  """The two arrays of PyTorch's quantizer, which follow from Z."""
  codes = np.arange(config.codebook_size, dtype=np.int32)
  return {
      'quantize.embedding': np.asarray(lfq.unpack(codes, config.z_channels)),
      'quantize.power_vals': 2 ** np.arange(config.z_channels)[::-1],
  }


def to_jax(
    state_dict: Mapping[str, np.ndarray], config: magvit.MagvitConfig
) -> magvit.Magvit:
  """The tokenizer of a PyTorch state dict; ValueError lists all faults."""
  abstract = nnx.eval_shape(lambda: magvit.Magvit(config, nnx.Rngs(0)))
  return table.to_jax(state_dict, TABLE, abstract, constants(config))


def to_torch(model: magvit.Magvit) -> dict[str, np.ndarray]:
  """The PyTorch state dict of a tokenizer, the inverse of `to_jax`."""
  return table.to_torch(model, TABLE, constants(model.config))
