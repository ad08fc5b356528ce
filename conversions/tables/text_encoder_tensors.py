"""What the weights of BERT and MPNet share: sizes, old names, unread tensors."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import re
from typing import Any

from conversions import model_sizes
from conversions import weight_rows
from hermesflow_jax.models import text_encoder_layers

# Layers on top of an encoder, for other tasks.
_HEADS = re.compile(r'(cls|lm_head|classifier|qa_outputs)\..*')
# Buffers of earlier releases of transformers, which follow from the sizes.
_BUFFERS = re.compile(r'(.*\.)?embeddings\.(position_ids|token_type_ids)')
# Names of LayerNorm's parameters in the first releases of BERT.
_OLD_NAMES = {'LayerNorm.gamma': 'LayerNorm.weight'}
_OLD_NAMES |= {'LayerNorm.beta': 'LayerNorm.bias'}


def encoder_tensors(
  state_dict: Mapping[str, Any], say: Callable[[str], None]
) -> dict[str, Any]:
  """Returns the tensors of an encoder, under the names of today.

  Args:
    state_dict: torch name -> tensor, e.g. of a BertForPreTraining.
    say: receives a line for tensors that are not read, and for old names.
  """
  heads = [name for name in state_dict if _HEADS.fullmatch(name)]
  tensors, renamed = {}, 0
  for name, tensor in state_dict.items():
    if _HEADS.fullmatch(name) or _BUFFERS.fullmatch(name):
      continue
    for old, new in _OLD_NAMES.items():
      if name.endswith(old):
        name = name.removesuffix(old) + new
        renamed += 1
    tensors[name] = tensor
  if heads:
    say(
      f'{len(heads)} tensors are not read, e.g. {heads[0]}: a text encoder has '
      'no head'
    )
  if renamed:
    say(
      f'{renamed} tensors LayerNorm.gamma and LayerNorm.beta are read as '
      'LayerNorm.weight and LayerNorm.bias'
    )
  return tensors


def rows_of(
  table: Sequence[weight_rows.WeightRow], state_dict: Mapping[str, Any]
) -> list[weight_rows.WeightRow]:
  """Returns the rows that must have tensors: the pooler is optional.

  Args:
    table: rows of an encoder.
    state_dict: torch name -> tensor.
  """
  return [row for row in table if _has_pooler(state_dict) or not _pools(row)]


def _pools(row) -> bool:
  return row.torch_name.startswith('pooler.')


def _has_pooler(state_dict) -> bool:
  return any(name.startswith('pooler.') for name in state_dict)


def rows(state_dict: Mapping[str, Any], name: str) -> int:
  """Returns the row count of a table of embeddings; see `model_sizes.shape`."""
  return model_sizes.shape(state_dict, name, 2)[0]


def read_sizes(
  state_dict: Mapping[str, Any], config: Mapping[str, Any], norm_eps: float
) -> tuple[dict[str, Any], model_sizes.Config]:
  """Reads the sizes that all text encoders have.

  Args:
    state_dict: torch name -> tensor.
    config: `config.json`. It holds the number of heads.
    norm_eps: LayerNorm epsilon where the config has none.

  Returns:
    (fields of `text_encoder_layers.EncoderConfig`, the reader of the config,
    whose faults are not raised yet).

  Raises:
    ValueError: a tensor that determines a size is missing.
  """
  reader = model_sizes.Config(config)
  vocab, width = model_sizes.shape(
    state_dict, 'embeddings.word_embeddings.weight', 2
  )
  layers = 'encoder.layer.*.'
  sizes = dict(
    vocab=vocab,
    width=width,
    layers=model_sizes.count(state_dict, layers),
    heads=reader.number('num_attention_heads'),
    mlp=rows(
      state_dict, layers.replace('*', '0') + 'intermediate.dense.weight'
    ),
    positions=rows(state_dict, 'embeddings.position_embeddings.weight'),
    norm_eps=reader.number('layer_norm_eps', norm_eps, float),
    pooler=_has_pooler(state_dict),
  )
  reader.agree(
    hidden_size=width,
    num_hidden_layers=sizes['layers'],
    intermediate_size=sizes['mlp'],
    max_position_embeddings=sizes['positions'],
    vocab_size=vocab,
    hidden_act='gelu',
  )
  return sizes, reader


def official(
  config: text_encoder_layers.EncoderConfig, dtype: str
) -> dict[str, Any]:
  """Returns the keys of `config.json` that all text encoders have."""
  return {
    'hidden_act': 'gelu',
    'hidden_size': config.width,
    'intermediate_size': config.mlp,
    'layer_norm_eps': config.norm_eps,
    'max_position_embeddings': config.positions,
    'num_attention_heads': config.heads,
    'num_hidden_layers': config.layers,
    'torch_dtype': dtype,
    'vocab_size': config.vocab,
  }
