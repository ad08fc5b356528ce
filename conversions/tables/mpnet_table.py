"""MPNet weights: torch name | jax path | transform."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from conversions import weight_rows
from conversions import weight_table
from conversions.tables import text_encoder_tensors
from hermesflow_jax.models import abstract_modules
from hermesflow_jax.models import mpnet

TABLE = weight_rows.parse("""
embeddings.word_embeddings.weight                   | embed.embedding                   | copy
embeddings.position_embeddings.weight               | position_embedding.embedding      | copy
embeddings.LayerNorm.weight                         | embed_layernorm.scale             | copy
embeddings.LayerNorm.bias                           | embed_layernorm.bias              | copy
encoder.relative_attention_bias.weight              | relative_bias.embedding           | copy
encoder.layer.*.attention.attn.q.weight             | layers.q_proj.kernel              | transpose
encoder.layer.*.attention.attn.q.bias               | layers.q_proj.bias                | copy
encoder.layer.*.attention.attn.k.weight             | layers.k_proj.kernel              | transpose
encoder.layer.*.attention.attn.k.bias               | layers.k_proj.bias                | copy
encoder.layer.*.attention.attn.v.weight             | layers.v_proj.kernel              | transpose
encoder.layer.*.attention.attn.v.bias               | layers.v_proj.bias                | copy
encoder.layer.*.attention.attn.o.weight             | layers.dense.kernel               | transpose
encoder.layer.*.attention.attn.o.bias               | layers.dense.bias                 | copy
encoder.layer.*.attention.LayerNorm.weight          | layers.attention_layernorm.scale  | copy
encoder.layer.*.attention.LayerNorm.bias            | layers.attention_layernorm.bias   | copy
encoder.layer.*.intermediate.dense.weight           | layers.fc1.kernel                 | transpose
encoder.layer.*.intermediate.dense.bias             | layers.fc1.bias                   | copy
encoder.layer.*.output.dense.weight                 | layers.fc2.kernel                 | transpose
encoder.layer.*.output.dense.bias                   | layers.fc2.bias                   | copy
encoder.layer.*.output.LayerNorm.weight             | layers.mlp_layernorm.scale        | copy
encoder.layer.*.output.LayerNorm.bias               | layers.mlp_layernorm.bias         | copy
pooler.dense.weight                                 | pooler.kernel                     | transpose
pooler.dense.bias                                   | pooler.bias                       | copy
""")


def read_sizes(
  state_dict: Mapping[str, Any], config: Mapping[str, Any]
) -> mpnet.MPNetConfig:
  """Reads a checkpoint's sizes.

  Args:
    state_dict: torch name -> tensor.
    config: `config.json` of an MPNetModel. It holds the number of heads.

  Raises:
    ValueError: a size is missing, or tensors and config disagree.
  """
  sizes, reader = text_encoder_tensors.read_sizes(state_dict, config, 1e-12)
  reader.agree(
    model_type='mpnet',
    relative_attention_num_buckets=mpnet.BUCKETS,
    pad_token_id=mpnet.PAD,
  )
  reader.check()
  return mpnet.MPNetConfig(**sizes)


def official(config: mpnet.MPNetConfig, dtype: str) -> dict[str, Any]:
  """Returns the `config.json` for transformers' MPNetModel."""
  return text_encoder_tensors.official(config, dtype) | {
    'architectures': ['MPNetModel'],
    'bos_token_id': 0,
    'eos_token_id': 2,
    'model_type': 'mpnet',
    'pad_token_id': mpnet.PAD,
    'relative_attention_num_buckets': mpnet.BUCKETS,
  }


def to_jax(
  state_dict: Mapping[str, Any], config: mpnet.MPNetConfig, progress=iter
) -> mpnet.MPNet:
  """Builds an encoder from PyTorch tensors; ValueError lists all faults."""
  abstract = abstract_modules.abstract_module(mpnet.MPNet, config)
  return weight_table.to_jax(state_dict, TABLE, abstract, progress=progress)


def to_torch(model: mpnet.MPNet) -> dict[str, np.ndarray]:
  """Returns an encoder's PyTorch state dict, the inverse of `to_jax`."""
  return weight_table.to_torch(model, TABLE)
