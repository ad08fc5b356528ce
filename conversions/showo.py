"""The names of Show-o's weights: torch name | jax path | move."""

from collections.abc import Mapping

import numpy as np
from flax import nnx

from conversions import table
from hermesflow_jax.models import showo

TABLE = table.parse("""
showo.model.embed_tokens.weight                   | embed.embedding                      | copy
showo.model.layers.*.input_layernorm.weight       | decoder.layers.input_layernorm.scale | copy
showo.model.layers.*.input_layernorm.bias         | decoder.layers.input_layernorm.bias  | copy
showo.model.layers.*.self_attn.q_proj.weight      | decoder.layers.q_proj.kernel         | transpose
showo.model.layers.*.self_attn.q_proj.bias        | decoder.layers.q_proj.bias           | copy
showo.model.layers.*.self_attn.k_proj.weight      | decoder.layers.k_proj.kernel         | transpose
showo.model.layers.*.self_attn.k_proj.bias        | decoder.layers.k_proj.bias           | copy
showo.model.layers.*.self_attn.v_proj.weight      | decoder.layers.v_proj.kernel         | transpose
showo.model.layers.*.self_attn.v_proj.bias        | decoder.layers.v_proj.bias           | copy
showo.model.layers.*.self_attn.q_layernorm.weight | decoder.layers.q_layernorm.scale     | copy
showo.model.layers.*.self_attn.q_layernorm.bias   | decoder.layers.q_layernorm.bias      | copy
showo.model.layers.*.self_attn.k_layernorm.weight | decoder.layers.k_layernorm.scale     | copy
showo.model.layers.*.self_attn.k_layernorm.bias   | decoder.layers.k_layernorm.bias      | copy
showo.model.layers.*.self_attn.dense.weight       | decoder.layers.dense.kernel          | transpose
showo.model.layers.*.self_attn.dense.bias         | decoder.layers.dense.bias            | copy
showo.model.layers.*.mlp.fc1.weight               | decoder.layers.fc1.kernel            | transpose
showo.model.layers.*.mlp.fc1.bias                 | decoder.layers.fc1.bias              | copy
showo.model.layers.*.mlp.fc2.weight               | decoder.layers.fc2.kernel            | transpose
showo.model.layers.*.mlp.fc2.bias                 | decoder.layers.fc2.bias              | copy
showo.model.final_layernorm.weight                | decoder.final_layernorm.scale        | copy
showo.model.final_layernorm.bias                  | decoder.final_layernorm.bias         | copy
showo.lm_head.weight                              | head.kernel                          | transpose
showo.lm_head.bias                                | head.bias                            | copy
""")


def to_jax(
    state_dict: Mapping[str, np.ndarray], config: showo.ShowOConfig
) -> showo.ShowO:
  """The model of a PyTorch state dict; ValueError lists all faults."""
  abstract = nnx.eval_shape(lambda: showo.ShowO(config, rngs=nnx.Rngs(0)))
  return table.to_jax(state_dict, TABLE, abstract)


def to_torch(model: showo.ShowO) -> dict[str, np.ndarray]:
  """The PyTorch state dict of a model, the inverse of `to_jax`."""
  return table.to_torch(model, TABLE)
