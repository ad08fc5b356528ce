"""Show-o weights: torch name | jax path | transform."""

from collections.abc import Container
from collections.abc import Mapping
from typing import Any

import numpy as np

from conversions import model_sizes
from conversions import weight_rows
from conversions import weight_table
from hermesflow_jax.models import abstract_modules
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.sequences import vocabulary

TABLE = weight_rows.parse("""
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


# Additional weights of the CLIP variant.
PROJECTOR = weight_rows.parse("""
mm_projector.0.weight | projector.first.kernel  | transpose
mm_projector.0.bias   | projector.first.bias    | copy
mm_projector.2.weight | projector.second.kernel | transpose
mm_projector.2.bias   | projector.second.bias   | copy
""")

# Values that an official config.json does not hold.
EOS = 50256
MAX_TEXT = 128
LANGUAGE_MODEL = 'microsoft/phi-1_5'


def rows_of(config: showo.ShowOConfig) -> tuple[weight_rows.WeightRow, ...]:
  """Returns the table for a model of these sizes."""
  return TABLE + (PROJECTOR if config.clip_width else ())


def rows_of_names(names: Container[str]) -> tuple[weight_rows.WeightRow, ...]:
  """Returns the rows that a checkpoint with these tensor names must have."""
  return TABLE + (PROJECTOR if 'mm_projector.0.weight' in names else ())


def read_sizes(
  state_dict: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[showo.ShowOConfig, int]:
  """Reads a checkpoint's sizes.

  Args:
    state_dict: torch name -> tensor. Tensors determine layers, widths, heads.
    config: `config.json`, official or as in tests/goldens. It holds the
      vocabulary and the number of image tokens.

  Returns:
    (sizes, text tokens per text-to-image row).

  Raises:
    ValueError: a size is missing, or tensors and config disagree.
  """
  reader = model_sizes.Config(config)
  model, layers = 'showo.model.', 'showo.model.layers.*.'
  first = layers.replace('*', '0')
  rows, width = model_sizes.shape(state_dict, model + 'embed_tokens.weight', 2)
  (head,) = model_sizes.shape(
    state_dict, first + 'self_attn.q_layernorm.weight', 1
  )
  mlp, _ = model_sizes.shape(state_dict, first + 'mlp.fc1.weight', 2)
  if width % head:
    raise ValueError(
      f'width must be a multiple of the head width {head}, got {width}'
    )
  decoder = phi.PhiConfig(
    width=width,
    layers=model_sizes.count(state_dict, layers),
    heads=width // head,
    mlp=mlp,
    rotary_fraction=reader.number('partial_rotary_factor', 0.5, float),
    rope_theta=reader.number('rope_theta', 10_000.0, float),
    norm_eps=reader.number('layer_norm_eps', 1e-5, float),
  )
  clip_width = 0
  if 'mm_projector.0.weight' in state_dict:
    _, clip_width = model_sizes.shape(state_dict, 'mm_projector.0.weight', 2)
  vocab = read_vocab(reader, config)
  image_tokens = reader.number('num_vq_tokens')
  max_text = reader.number('max_text_len', MAX_TEXT)
  if max_text < 2:
    reader.faults.append(f'max_text_len must be at least 2, got {max_text}')
  reader.agree(
    hidden_size=width,
    num_hidden_layers=decoder.layers,
    num_attention_heads=decoder.heads,
    intermediate_size=mlp,
    qk_layernorm=True,
    hidden_act='gelu_new',
    w_clip_vit=bool(clip_width),
  )
  if rows != vocab.size and not reader.faults:
    reader.faults.append(
      f'the embedding must have {vocab.size} rows, got {rows}'
    )
  reader.check()
  return showo.ShowOConfig(vocab, decoder, image_tokens, clip_width), max_text


def read_vocab(
  reader: model_sizes.Config, config: Mapping[str, Any]
) -> vocabulary.Vocab:
  """Reads the vocabulary from `config.json`; adds faults to the reader."""
  text, codes = reader.number('llm_vocab_size'), reader.number('codebook_size')
  special = config.get('special_token_ids')
  special = special if isinstance(special, Mapping) else {}
  eos = special.get('<|eot|>', EOS)
  if type(eos) is not int or not 0 <= eos < text:
    if not reader.faults:
      reader.faults.append(f'<|eot|> must be a text token, got {eos!r:.80}')
    return vocabulary.Vocab(1, 1, 0)
  vocab = vocabulary.Vocab(text, codes, eos)
  reader.agree(
    vocab_size=vocab.size,
    mask_token_id=vocab.mask,
    image_token_offset=vocab.image_offset,
  )
  for name, number in special.items():
    expected = getattr(vocab, str(name).strip('<|>'), None)
    if number != expected:
      reader.faults.append(f'{name} must be {expected}, got {number!r:.80}')
  return vocab


def official(config: showo.ShowOConfig, max_text: int) -> dict[str, Any]:
  """Returns the official `config.json`, plus values that are not the default."""
  vocab, decoder, plain = config.vocab, config.decoder, phi.PhiConfig()
  record = {
    '_class_name': 'Showo',
    '_diffusers_version': '0.30.1',
    'codebook_size': vocab.codebook_size,
    'llm_model_path': LANGUAGE_MODEL,
    'llm_vocab_size': vocab.text_size,
    # The official class then makes no Phi of its own first.
    'load_from_showo': True,
    'mask_token_id': vocab.mask,
    'num_vq_tokens': config.image_tokens,
    'vocab_size': vocab.size,
    'w_clip_vit': bool(config.clip_width),
  }
  if vocab.eos != EOS:
    record['special_token_ids'] = {'<|sot|>': vocab.sot, '<|eot|>': vocab.eot}
  if max_text != MAX_TEXT:
    record['max_text_len'] = max_text
  for name, field in (
    ('partial_rotary_factor', 'rotary_fraction'),
    ('rope_theta', 'rope_theta'),
    ('layer_norm_eps', 'norm_eps'),
  ):
    if getattr(decoder, field) != getattr(plain, field):
      record[name] = getattr(decoder, field)
  return record


def to_jax(
  state_dict: Mapping[str, Any], config: showo.ShowOConfig, progress=iter
) -> showo.ShowO:
  """Builds a model from PyTorch tensors; ValueError lists all faults."""
  abstract = abstract_modules.abstract_module(showo.ShowO, config)
  return weight_table.to_jax(
    state_dict, rows_of(config), abstract, progress=progress
  )


def to_torch(model: showo.ShowO) -> dict[str, np.ndarray]:
  """Returns a model's PyTorch state dict, the inverse of `to_jax`."""
  return weight_table.to_torch(model, rows_of(model.config))
