"""CLIP vision tower weights: torch name | jax path | transform."""

from collections.abc import Mapping
import re
from typing import Any

import numpy as np

from conversions import model_sizes
from conversions import weight_rows
from conversions import weight_table
from hermesflow_jax.models import abstract_modules
from hermesflow_jax.models import clip
from hermesflow_jax.models import clip_layers

TABLE = weight_rows.parse("""
vision_model.embeddings.class_embedding                 | class_embedding              | copy
vision_model.embeddings.patch_embedding.weight          | patch_embedding.kernel       | conv
vision_model.embeddings.position_embedding.weight       | position_embedding.embedding | copy
vision_model.pre_layrnorm.weight                        | pre_layernorm.scale          | copy
vision_model.pre_layrnorm.bias                          | pre_layernorm.bias           | copy
vision_model.encoder.layers.*.layer_norm1.weight        | layers.layer_norm1.scale     | copy
vision_model.encoder.layers.*.layer_norm1.bias          | layers.layer_norm1.bias      | copy
vision_model.encoder.layers.*.self_attn.q_proj.weight   | layers.q_proj.kernel         | transpose
vision_model.encoder.layers.*.self_attn.q_proj.bias     | layers.q_proj.bias           | copy
vision_model.encoder.layers.*.self_attn.k_proj.weight   | layers.k_proj.kernel         | transpose
vision_model.encoder.layers.*.self_attn.k_proj.bias     | layers.k_proj.bias           | copy
vision_model.encoder.layers.*.self_attn.v_proj.weight   | layers.v_proj.kernel         | transpose
vision_model.encoder.layers.*.self_attn.v_proj.bias     | layers.v_proj.bias           | copy
vision_model.encoder.layers.*.self_attn.out_proj.weight | layers.out_proj.kernel       | transpose
vision_model.encoder.layers.*.self_attn.out_proj.bias   | layers.out_proj.bias         | copy
vision_model.encoder.layers.*.layer_norm2.weight        | layers.layer_norm2.scale     | copy
vision_model.encoder.layers.*.layer_norm2.bias          | layers.layer_norm2.bias      | copy
vision_model.encoder.layers.*.mlp.fc1.weight            | layers.fc1.kernel            | transpose
vision_model.encoder.layers.*.mlp.fc1.bias              | layers.fc1.bias              | copy
vision_model.encoder.layers.*.mlp.fc2.weight            | layers.fc2.kernel            | transpose
vision_model.encoder.layers.*.mlp.fc2.bias              | layers.fc2.bias              | copy
vision_model.post_layernorm.weight                      | post_layernorm.scale         | copy
vision_model.post_layernorm.bias                        | post_layernorm.bias          | copy
""")

# Tensors of a whole CLIP outside its vision tower.
OTHER_TENSORS = re.compile(
  r'text_model\..*|(visual|text)_projection\.weight|logit_scale'
  r'|vision_model\.embeddings\.position_ids'
)


def vision(state_dict: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the tensors in the vision tower, without the rest."""
  return {
    name: tensor
    for name, tensor in state_dict.items()
    if not OTHER_TENSORS.fullmatch(name)
  }


def read_sizes(
  state_dict: Mapping[str, Any], config: Mapping[str, Any]
) -> clip.ClipConfig:
  """Reads a checkpoint's sizes.

  Args:
    state_dict: torch name -> tensor.
    config: `config.json` for a CLIPVisionModel or a whole CLIP. It holds the
      number of heads.

  Raises:
    ValueError: a size is missing, or tensors and config disagree.
  """
  record = config.get('vision_config', config)
  reader = model_sizes.Config(record if isinstance(record, Mapping) else {})
  name = 'vision_model.embeddings.patch_embedding.weight'
  width, _, patch, _ = model_sizes.shape(state_dict, name, 4)
  positions, _ = model_sizes.shape(
    state_dict, 'vision_model.embeddings.position_embedding.weight', 2
  )
  layers = 'vision_model.encoder.layers.*.'
  mlp, _ = model_sizes.shape(
    state_dict, layers.replace('*', '0') + 'mlp.fc1.weight', 2
  )
  side = round((positions - 1) ** 0.5)
  sizes = dict(
    width=width,
    layers=model_sizes.count(state_dict, layers),
    mlp=mlp,
    patch=patch,
    image=side * patch,
    heads=reader.number('num_attention_heads'),
    norm_eps=reader.number('layer_norm_eps', 1e-5, float),
    activation=reader.choice('hidden_act', clip_layers.ACTIVATIONS),
  )
  reader.agree(
    hidden_size=width,
    num_hidden_layers=sizes['layers'],
    intermediate_size=mlp,
    patch_size=patch,
    image_size=sizes['image'],
  )
  reader.check()
  return clip.ClipConfig(**sizes)


def official(config: clip.ClipConfig, dtype: str) -> dict[str, Any]:
  """Returns the `config.json` for transformers' CLIPVisionModel."""
  return {
    'architectures': ['CLIPVisionModel'],
    'model_type': 'clip_vision_model',
    'hidden_act': config.activation,
    'hidden_size': config.width,
    'image_size': config.image,
    'intermediate_size': config.mlp,
    'layer_norm_eps': config.norm_eps,
    'num_attention_heads': config.heads,
    'num_channels': 3,
    'num_hidden_layers': config.layers,
    'patch_size': config.patch,
    'torch_dtype': dtype,
  }


def to_jax(
  state_dict: Mapping[str, Any], config: clip.ClipConfig, progress=iter
) -> clip.Clip:
  """Builds a tower from PyTorch tensors; ValueError lists all faults."""
  abstract = abstract_modules.abstract_module(clip.Clip, config)
  return weight_table.to_jax(
    vision(state_dict), TABLE, abstract, progress=progress
  )


def to_torch(model: clip.Clip) -> dict[str, np.ndarray]:
  """Returns a tower's PyTorch state dict, the inverse of `to_jax`."""
  return weight_table.to_torch(model, TABLE)
