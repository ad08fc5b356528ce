"""BERT weights: torch name | jax path | transform."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from conversions import weight_rows
from conversions import weight_table
from conversions.tables import text_encoder_tensors
from hermesflow_jax.models import abstract_modules
from hermesflow_jax.models import bert

TABLE = weight_rows.parse("""
embeddings.word_embeddings.weight                   | embed.embedding                   | copy
embeddings.position_embeddings.weight               | position_embedding.embedding      | copy
embeddings.token_type_embeddings.weight             | type_embedding.embedding          | copy
embeddings.LayerNorm.weight                         | embed_layernorm.scale             | copy
embeddings.LayerNorm.bias                           | embed_layernorm.bias              | copy
encoder.layer.*.attention.self.query.weight         | layers.q_proj.kernel              | transpose
encoder.layer.*.attention.self.query.bias           | layers.q_proj.bias                | copy
encoder.layer.*.attention.self.key.weight           | layers.k_proj.kernel              | transpose
encoder.layer.*.attention.self.key.bias             | layers.k_proj.bias                | copy
encoder.layer.*.attention.self.value.weight         | layers.v_proj.kernel              | transpose
encoder.layer.*.attention.self.value.bias           | layers.v_proj.bias                | copy
encoder.layer.*.attention.output.dense.weight       | layers.dense.kernel               | transpose
encoder.layer.*.attention.output.dense.bias         | layers.dense.bias                 | copy
encoder.layer.*.attention.output.LayerNorm.weight   | layers.attention_layernorm.scale  | copy
encoder.layer.*.attention.output.LayerNorm.bias     | layers.attention_layernorm.bias   | copy
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
) -> bert.BertConfig:
  """Reads a checkpoint's sizes.

  Args:
    state_dict: torch name -> tensor.
    config: `config.json` of a BertModel. It holds the number of heads.

  Raises:
    ValueError: a size is missing, tensors and config disagree, or the model is
      a BERT of another form, e.g. a decoder.
  """
  sizes, reader = text_encoder_tensors.read_sizes(state_dict, config, 1e-12)
  sizes['token_types'] = text_encoder_tensors.rows(
    state_dict, 'embeddings.token_type_embeddings.weight'
  )
  reader.agree(
    model_type='bert',
    type_vocab_size=sizes['token_types'],
    position_embedding_type='absolute',
    is_decoder=False,
    add_cross_attention=False,
  )
  reader.check()
  return bert.BertConfig(**sizes)


def official(config: bert.BertConfig, dtype: str) -> dict[str, Any]:
  """Returns the `config.json` for transformers' BertModel."""
  return text_encoder_tensors.official(config, dtype) | {
    'architectures': ['BertModel'],
    'model_type': 'bert',
    'pad_token_id': 0,
    'position_embedding_type': 'absolute',
    'type_vocab_size': config.token_types,
  }


def to_jax(
  state_dict: Mapping[str, Any], config: bert.BertConfig, progress=iter
) -> bert.Bert:
  """Builds an encoder from PyTorch tensors; ValueError lists all faults."""
  abstract = abstract_modules.abstract_module(bert.Bert, config)
  return weight_table.to_jax(state_dict, TABLE, abstract, progress=progress)


def to_torch(model: bert.Bert) -> dict[str, np.ndarray]:
  """Returns an encoder's PyTorch state dict, the inverse of `to_jax`."""
  return weight_table.to_torch(model, TABLE)
