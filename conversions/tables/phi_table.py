"""A plain Phi-1.5 as an initial Show-o, as the official pretraining makes it.

Its embedding and its head keep their rows (51,200 in the release, of which
50,295 are tokens) and grow to the whole vocabulary: new rows are normal with
the language model's own deviation, new biases 0. The norms of queries and
keys, which a plain Phi has not, begin as the identity.
"""

from collections.abc import Mapping
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
# A config that asks for more rows than this means harm.
MOST_NEW = 1_000_000
# What a plain Phi has not.
NORMS = re.compile('[qk]_layernorm')
# Of the language model's own vocabulary and form.
FOREIGN = ('vocab_size', 'qk_layernorm', 'hidden_act')


def as_show_o(
  found: Mapping[str, Any], config: Mapping[str, Any], seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Returns the state dict and the config of an initial Show-o.

  Args:
    found: torch name -> tensor of a PhiForCausalLM.
    config: its `config.json`; Show-o's vocabulary is Phi-1.5's unless it says
      otherwise, in the goldens' form.
    seed: of the new rows.

  Raises:
    ValueError: it is no Phi, or has more rows than the vocabulary.
  """
  reader = model_sizes.Config(config)
  rows, width = model_sizes.shape(found, GROWN[0], 2)
  heads = reader.number('num_attention_heads')
  deviation = reader.number('initializer_range', 0.02, float)
  record = VOCABULARY | {k: v for k, v in config.items() if k not in FOREIGN}
  # Where later releases of transformers keep the rotary numbers.
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
    reader.faults.append(f'{heads} heads for width {width}')
  if not rows <= vocab.size <= rows + MOST_NEW:
    reader.faults.append(
      f'{rows} rows do not grow to a vocabulary of {vocab.size}'
    )
  reader.check()
  made = dict(found)
  for number, name in enumerate(GROWN):
    if name in found:
      made[name] = _grown(
        found[name],
        vocab.size,
        0.0 if name.endswith('bias') else deviation,
        (seed, number),
      )
  norm = np.dtype(found[GROWN[0]].dtype)
  for i in range(model_sizes.count(found, 'model.layers.*.')):
    for which in ('q_layernorm', 'k_layernorm'):
      name = f'model.layers.{i}.self_attn.{which}'
      made.setdefault(f'{name}.weight', np.ones(width // heads, norm))
      made.setdefault(f'{name}.bias', np.zeros(width // heads, norm))
  return {PREFIX + name: tensor for name, tensor in made.items()}, record


def _grown(tensor, rows: int, deviation: float, seed) -> '_Grown':
  return _Grown(tensor, (rows, *tensor.shape[1:]), deviation, seed)


class _Grown:
  """A tensor with new rows, made when it is read."""

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
  found: Mapping[str, Any], config: Mapping[str, Any], seed: int, progress=iter
) -> tuple[showo.ShowO, int]:
  """Returns the initial Show-o of a plain Phi, and its text tokens of a row.

  Raises:
    ValueError: lists all faults, by the names of the plain Phi.
  """

  def read():
    state_dict, record = as_show_o(found, config, seed)
    return state_dict, *showo_table.read_sizes(state_dict, record)

  rows = showo_table.TABLE
  needed = [row for row in rows if not NORMS.search(row.torch)]
  named = {PREFIX + name: tensor for name, tensor in found.items()}
  try:
    state_dict, sizes, max_text = model_sizes.sized(read, named, rows, needed)
    model = showo_table.to_jax(state_dict, sizes, progress)
  except ValueError as error:
    raise ValueError(str(error).replace(PREFIX, '')) from error
  return model, max_text
