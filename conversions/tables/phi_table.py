"""Converts a plain Phi-1.5 to an initial Show-o, as official pretraining does.

The embedding and the head keep their rows (51,200 in the release, of which
50,295 are tokens) and grow to the whole vocabulary. New rows are normal with the
language model's initializer range, new biases are 0. The query and key norms,
which a plain Phi does not have, start as the identity.
"""

from collections.abc import Mapping
import dataclasses
import re
from typing import Any

import numpy as np

from conversions import model_sizes
from conversions.tables import showo_table
from hermesflow_jax.models import showo

PREFIX = 'showo.'
GROWN = ('model.embed_tokens.weight', 'lm_head.weight', 'lm_head.bias')
VOCABULARY = {
  'llm_vocab_size': 50295,
  'codebook_size': 8192,
  'num_vq_tokens': 256,
}
# More new rows are refused, because a hostile config could fill the memory.
MAX_NEW_ROWS = 1_000_000
# Rows with the names of a plain Phi.
ROWS = tuple(
  dataclasses.replace(row, torch_name=row.torch_name.removeprefix(PREFIX))
  for row in showo_table.TABLE
)
# Layers that a plain Phi does not have.
NORMS = re.compile('[qk]_layernorm')
# Config keys of the language model that have another meaning in Show-o.
LANGUAGE_MODEL_KEYS = ('vocab_size', 'qk_layernorm', 'hidden_act')


def as_show_o(
  state_dict: Mapping[str, Any], config: Mapping[str, Any], seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Returns (state dict, config) for an initial Show-o.

  Args:
    state_dict: torch name -> tensor, a PhiForCausalLM.
    config: the Phi's `config.json`. Keys in VOCABULARY may override Show-o's
      vocabulary, as in tests/goldens.
    seed: random seed for the new rows.

  Raises:
    ValueError: the model is not a Phi, or has more rows than the vocabulary.
  """
  reader = model_sizes.Config(config)
  rows, width = model_sizes.shape(state_dict, GROWN[0], 2)
  heads = reader.number('num_attention_heads')
  deviation = reader.number('initializer_range', 0.02, float)
  record = VOCABULARY | {
    k: v for k, v in config.items() if k not in LANGUAGE_MODEL_KEYS
  }
  # Later releases of transformers keep the rotary settings in a sub-record.
  nested = config.get('rope_parameters')
  record |= nested if isinstance(nested, Mapping) else {}
  vocab = showo_table.read_vocab(model_sizes.Config(record), record)
  reader.agree(
    model_type='phi',
    vocab_size=rows,
    hidden_act='gelu_new',
    tie_word_embeddings=False,
  )
  if heads < 1 or width % heads:
    reader.faults.append(
      f'width must be a multiple of {heads} heads, got {width}'
    )
  if not rows <= vocab.size <= rows + MAX_NEW_ROWS:
    reader.faults.append(
      f'the embedding must have at most {vocab.size} rows (the vocabulary) '
      f'and at least {vocab.size - MAX_NEW_ROWS}, got {rows}'
    )
  reader.check()
  initial = dict(state_dict)
  for number, name in enumerate(GROWN):
    if name in state_dict:
      tensor = state_dict[name]
      initial[name] = _GrownTensor(
        tensor,
        (vocab.size, *tensor.shape[1:]),
        0.0 if name.endswith('bias') else deviation,
        (seed, number),
      )
  dtype = np.dtype(state_dict[GROWN[0]].dtype)
  for i in range(model_sizes.count(state_dict, 'model.layers.*.')):
    for which in ('q_layernorm', 'k_layernorm'):
      name = f'model.layers.{i}.self_attn.{which}'
      initial.setdefault(f'{name}.weight', np.ones(width // heads, dtype))
      initial.setdefault(f'{name}.bias', np.zeros(width // heads, dtype))
  return {PREFIX + name: tensor for name, tensor in initial.items()}, record


class _GrownTensor:
  """A tensor with additional random rows, built on demand."""

  def __init__(self, tensor, shape, deviation, seed):
    self.shape, self.dtype = shape, np.dtype(tensor.dtype)
    self._tensor, self._deviation, self._seed = tensor, deviation, seed

  def __array__(self, dtype=None, copy=None):
    old = np.asarray(self._tensor)
    shape = (self.shape[0] - len(old), *self.shape[1:])
    rng = np.random.default_rng(self._seed)
    new = self._deviation * rng.standard_normal(shape, np.float32)
    return np.concatenate([old, new.astype(old.dtype)])


def to_jax(
  state_dict: Mapping[str, Any],
  config: Mapping[str, Any],
  seed: int,
  progress=iter,
) -> tuple[showo.ShowO, int]:
  """Builds an initial Show-o from a plain Phi.

  Args:
    state_dict: torch name -> tensor, a PhiForCausalLM.
    config: the Phi's `config.json`.
    seed: random seed for the new rows.
    progress: wraps the iteration over parameters.

  Returns:
    (model, text tokens per text-to-image row).

  Raises:
    ValueError: lists all faults, with the plain Phi's tensor names.
  """

  def read():
    initial, record = as_show_o(state_dict, config, seed)
    return initial, *showo_table.read_sizes(initial, record)

  rows = showo_table.TABLE
  required = [row for row in rows if not NORMS.search(row.torch_name)]
  renamed = {PREFIX + name: tensor for name, tensor in state_dict.items()}
  try:
    initial, sizes, max_text = model_sizes.read_or_list_faults(
      read, renamed, rows, required
    )
    model = showo_table.to_jax(initial, sizes, progress)
  except ValueError as error:
    raise ValueError(str(error).replace(PREFIX, '')) from error
  return model, max_text
