"""Weights of a complete CLIP: torch name | jax path | transform.

The vision tower has the rows of clip_table.py. `config.json` is that of
transformers' CLIPModel.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np

from conversions import model_sizes
from conversions import weight_rows
from conversions import weight_table
from conversions.tables import clip_table
from hermesflow_jax.models import abstract_modules
from hermesflow_jax.models import clip_layers
from hermesflow_jax.models import clip_scores
from hermesflow_jax.models import clip_text

TEXT = weight_rows.parse("""
text_model.embeddings.token_embedding.weight          | text.token_embedding.embedding    | copy
text_model.embeddings.position_embedding.weight       | text.position_embedding.embedding | copy
text_model.encoder.layers.*.layer_norm1.weight        | text.layers.layer_norm1.scale     | copy
text_model.encoder.layers.*.layer_norm1.bias          | text.layers.layer_norm1.bias      | copy
text_model.encoder.layers.*.self_attn.q_proj.weight   | text.layers.q_proj.kernel         | transpose
text_model.encoder.layers.*.self_attn.q_proj.bias     | text.layers.q_proj.bias           | copy
text_model.encoder.layers.*.self_attn.k_proj.weight   | text.layers.k_proj.kernel         | transpose
text_model.encoder.layers.*.self_attn.k_proj.bias     | text.layers.k_proj.bias           | copy
text_model.encoder.layers.*.self_attn.v_proj.weight   | text.layers.v_proj.kernel         | transpose
text_model.encoder.layers.*.self_attn.v_proj.bias     | text.layers.v_proj.bias           | copy
text_model.encoder.layers.*.self_attn.out_proj.weight | text.layers.out_proj.kernel       | transpose
text_model.encoder.layers.*.self_attn.out_proj.bias   | text.layers.out_proj.bias         | copy
text_model.encoder.layers.*.layer_norm2.weight        | text.layers.layer_norm2.scale     | copy
text_model.encoder.layers.*.layer_norm2.bias          | text.layers.layer_norm2.bias      | copy
text_model.encoder.layers.*.mlp.fc1.weight            | text.layers.fc1.kernel            | transpose
text_model.encoder.layers.*.mlp.fc1.bias              | text.layers.fc1.bias              | copy
text_model.encoder.layers.*.mlp.fc2.weight            | text.layers.fc2.kernel            | transpose
text_model.encoder.layers.*.mlp.fc2.bias              | text.layers.fc2.bias              | copy
text_model.final_layer_norm.weight                    | text.final_layernorm.scale        | copy
text_model.final_layer_norm.bias                      | text.final_layernorm.bias         | copy
visual_projection.weight                              | visual_projection.kernel          | transpose
text_projection.weight                                | text_projection.kernel            | transpose
logit_scale                                           | logit_scale                       | copy
""")
TABLE = TEXT + tuple(
  dataclasses.replace(row, jax_path=f'vision.{row.jax_path}')
  for row in clip_table.TABLE
)
# Buffers of earlier releases of transformers: 0, 1, 2, ...
POSITIONS = (
  'text_model.embeddings.position_ids',
  'vision_model.embeddings.position_ids',
)
# Values of transformers' CLIPTextConfig and CLIPVisionConfig for missing keys.
TEXT_DEFAULTS = {
  'eos_token_id': 49407,
  'hidden_act': 'quick_gelu',
  'layer_norm_eps': 1e-5,
  'num_attention_heads': 8,
}
VISION_DEFAULTS = {
  'hidden_act': 'quick_gelu',
  'layer_norm_eps': 1e-5,
  'num_attention_heads': 12,
}


def without_positions(
  state_dict: Mapping[str, Any], say: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
  """Returns tensors without POSITIONS that count 0, 1, 2, ...

  Args:
    state_dict: torch name -> tensor.
    say: receives a line if there are such tensors.
  """
  counted = [
    name
    for name in POSITIONS
    if name in state_dict
    and np.array_equal(
      np.ravel(state_dict[name]), np.arange(state_dict[name].size)
    )
  ]
  if counted:
    say(f'{" and ".join(counted)} are not read: the sizes imply them')
  return {k: v for k, v in state_dict.items() if k not in counted}


def read_sizes(
  state_dict: Mapping[str, Any], config: Mapping[str, Any]
) -> clip_scores.ClipModelConfig:
  """Reads a checkpoint's sizes.

  Args:
    state_dict: torch name -> tensor.
    config: `config.json` of a CLIPModel. It holds the numbers of heads, the
      activations and the end token.

  Raises:
    ValueError: a size is missing, or tensors and config disagree.
  """
  vision = clip_table.read_sizes(
    state_dict, _tower_record(config, 'vision', VISION_DEFAULTS)
  )
  text = _text_sizes(state_dict, _tower_record(config, 'text', TEXT_DEFAULTS))
  features, _ = model_sizes.shape(state_dict, 'text_projection.weight', 2)
  reader = model_sizes.Config(config)
  reader.agree(projection_dim=features, model_type='clip')
  reader.check()
  return clip_scores.ClipModelConfig(vision, text, features)


def _tower_record(config, tower, defaults) -> dict[str, Any]:
  """Returns a tower's settings, read as transformers reads them.

  Configs of 2021 repeat some settings in `<tower>_config_dict`. They win, with
  the defaults of all others.
  """
  records = [config.get(f'{tower}_config{end}') for end in ('', '_dict')]
  first, second = ({} if r is None else r for r in records)
  if not isinstance(first, Mapping) or not isinstance(second, Mapping):
    raise ValueError(
      f'config.json: {tower}_config must be a record, got {records!r:.80}'
    )
  return defaults | dict(first) | (defaults if second else {}) | dict(second)


def _text_sizes(state_dict, record) -> clip_text.ClipTextConfig:
  reader = model_sizes.Config(record)
  embeddings = 'text_model.embeddings.'
  vocab, width = model_sizes.shape(
    state_dict, f'{embeddings}token_embedding.weight', 2
  )
  length, _ = model_sizes.shape(
    state_dict, f'{embeddings}position_embedding.weight', 2
  )
  layers = 'text_model.encoder.layers.*.'
  mlp, _ = model_sizes.shape(
    state_dict, layers.replace('*', '0') + 'mlp.fc1.weight', 2
  )
  sizes = dict(
    width=width,
    layers=model_sizes.count(state_dict, layers),
    mlp=mlp,
    vocab=vocab,
    length=length,
    heads=reader.number('num_attention_heads'),
    eos=reader.number('eos_token_id'),
    norm_eps=reader.number('layer_norm_eps', kind=float),
    activation=reader.choice('hidden_act', clip_layers.ACTIVATIONS),
  )
  reader.agree(
    vocab_size=vocab,
    hidden_size=width,
    num_hidden_layers=sizes['layers'],
    intermediate_size=mlp,
    max_position_embeddings=length,
  )
  reader.check()
  return clip_text.ClipTextConfig(**sizes)


def official(config: clip_scores.ClipModelConfig, dtype: str) -> dict[str, Any]:
  """Returns the `config.json` for transformers' CLIPModel."""
  text = config.text
  vision = clip_table.official(config.vision, dtype)
  del vision['architectures'], vision['torch_dtype']
  return {
    'architectures': ['CLIPModel'],
    'model_type': 'clip',
    'projection_dim': config.features,
    'text_config': {
      'eos_token_id': text.eos,
      'hidden_act': text.activation,
      'hidden_size': text.width,
      'intermediate_size': text.mlp,
      'layer_norm_eps': text.norm_eps,
      'max_position_embeddings': text.length,
      'model_type': 'clip_text_model',
      'num_attention_heads': text.heads,
      'num_hidden_layers': text.layers,
      'projection_dim': config.features,
      'vocab_size': text.vocab,
    },
    'vision_config': vision | {'projection_dim': config.features},
    'torch_dtype': dtype,
  }


def to_jax(
  state_dict: Mapping[str, Any],
  config: clip_scores.ClipModelConfig,
  progress=iter,
) -> clip_scores.ClipModel:
  """Builds a CLIP from PyTorch tensors; ValueError lists all faults."""
  abstract = abstract_modules.abstract_module(clip_scores.ClipModel, config)
  return weight_table.to_jax(state_dict, TABLE, abstract, progress=progress)


def to_torch(model: clip_scores.ClipModel) -> dict[str, np.ndarray]:
  """Returns a CLIP's PyTorch state dict, the inverse of `to_jax`."""
  return weight_table.to_torch(model, TABLE)
