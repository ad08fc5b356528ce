"""The names of Show-o's weights: torch name | jax path | move."""

from collections.abc import Container
from collections.abc import Mapping
from typing import Any

from flax import nnx
import numpy as np

from conversions import model_sizes
from conversions import weight_table
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.sequences import vocabulary

TABLE = weight_table.parse("""
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


# The CLIP variant has these, too.
PROJECTOR = weight_table.parse("""
mm_projector.0.weight | projector.first.kernel  | transpose
mm_projector.0.bias   | projector.first.bias    | copy
mm_projector.2.weight | projector.second.kernel | transpose
mm_projector.2.bias   | projector.second.bias   | copy
""")

# What a config.json in the official form leaves unsaid.
EOS = 50256
MAX_TEXT = 128
LANGUAGE_MODEL = 'microsoft/phi-1_5'


def rows_of(config: showo.ShowOConfig) -> tuple[weight_table.Row, ...]:
  """The table of a model of these sizes."""
  return TABLE + (PROJECTOR if config.clip_width else ())


def rows_of_names(names: Container[str]) -> tuple[weight_table.Row, ...]:
  """The rows that a checkpoint with tensors of these names must have."""
  return TABLE + (PROJECTOR if 'mm_projector.0.weight' in names else ())


def read_sizes(
  found: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[showo.ShowOConfig, int]:
  """Sizes of a checkpoint, and the text tokens of its t2i rows.

  Args:
    found: torch name -> tensor; it tells layers, widths and heads.
    config: the official one, or in the goldens' form; it tells the vocabulary
      and the image tokens.

  Raises:
    ValueError: they cannot be told, or the two disagree.
  """
  reader = model_sizes.Config(config)
  model, layers = 'showo.model.', 'showo.model.layers.*.'
  first = layers.replace('*', '0')
  rows, width = model_sizes.shape(found, model + 'embed_tokens.weight', 2)
  (head,) = model_sizes.shape(found, first + 'self_attn.q_layernorm.weight', 1)
  mlp, _ = model_sizes.shape(found, first + 'mlp.fc1.weight', 2)
  if width % head:
    raise ValueError(f'width {width} is no multiple of a head of {head}')
  decoder = phi.PhiConfig(
    width=width,
    layers=model_sizes.count(found, layers),
    heads=width // head,
    mlp=mlp,
    rotary_fraction=reader.number('partial_rotary_factor', 0.5, float),
    rope_theta=reader.number('rope_theta', 10_000.0, float),
    norm_eps=reader.number('layer_norm_eps', 1e-5, float),
  )
  clip_width = 0
  if 'mm_projector.0.weight' in found:
    _, clip_width = model_sizes.shape(found, 'mm_projector.0.weight', 2)
  vocab = read_vocab(reader, config)
  image_tokens = reader.number('num_vq_tokens')
  max_text = reader.number('max_text_len', MAX_TEXT)
  if max_text < 2:
    reader.faults.append(f'max_text_len is {max_text}, wanted at least 2')
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
      f'the vocabulary has {vocab.size} tokens, the embedding {rows}'
    )
  reader.check()
  return showo.ShowOConfig(vocab, decoder, image_tokens, clip_width), max_text


def read_vocab(
  reader: model_sizes.Config, config: Mapping[str, Any]
) -> vocabulary.Vocab:
  """The vocabulary that a `config.json` describes; faults go to the reader."""
  text, codes = reader.number('llm_vocab_size'), reader.number('codebook_size')
  special = config.get('special_token_ids')
  special = special if isinstance(special, Mapping) else {}
  eos = special.get('<|eot|>', EOS)
  if type(eos) is not int or not 0 <= eos < text:
    if not reader.faults:
      reader.faults.append(f'<|eot|> is {eos!r:.80}, wanted a text token')
    return vocabulary.Vocab(1, 1, 0)
  vocab = vocabulary.Vocab(text, codes, eos)
  reader.agree(
    vocab_size=vocab.size,
    mask_token_id=vocab.mask,
    image_token_offset=vocab.image_offset,
  )
  for name, number in special.items():
    wanted = getattr(vocab, str(name).strip('<|>'), None)
    if number != wanted:
      reader.faults.append(f'{name} is {number!r:.80}, wanted {wanted}')
  return vocab


def official(config: showo.ShowOConfig, max_text: int) -> dict[str, Any]:
  """The official `config.json`, with what it leaves unsaid where it differs."""
  vocab, decoder, plain = config.vocab, config.decoder, phi.PhiConfig()
  record = {
    '_class_name': 'Showo',
    '_diffusers_version': '0.30.1',
    'codebook_size': vocab.codebook_size,
    'llm_model_path': LANGUAGE_MODEL,
    'llm_vocab_size': vocab.text_size,
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
  """The model of a PyTorch state dict; ValueError lists all faults."""
  abstract = nnx.eval_shape(lambda: showo.ShowO(config, rngs=nnx.Rngs(0)))
  return weight_table.to_jax(
    state_dict, rows_of(config), abstract, progress=progress
  )


def to_torch(model: showo.ShowO) -> dict[str, np.ndarray]:
  """The PyTorch state dict of a model, the inverse of `to_jax`."""
  return weight_table.to_torch(model, rows_of(model.config))
