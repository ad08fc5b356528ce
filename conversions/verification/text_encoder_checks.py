"""Checks text encoders: BERT and MPNet."""

from collections.abc import Mapping
import functools
import re

import jax
import numpy as np

from conversions.verification import checks
from hermesflow_jax.models import text_pooling

STATES = 1e-4
INPUTS = frozenset(['text_ids', 'text_mask'])


@jax.jit
def _hidden_states(model, tokens, mask):
  return model.hidden_states(tokens, mask)


def make(
  model, activations: Mapping[str, np.ndarray]
) -> dict[str, checks.Check]:
  """Returns the checks of a text encoder by key.

  Args:
    model: a Bert or MPNet.
    activations: arrays by key. `text_ids` int[B, T] and `text_mask` [B, T] (1
      for tokens, 0 for pads) give `text_hidden` [B, T, D], the last hidden
      states, `text_hidden_<i>`, those of layer i (0: the embeddings), and
      `text_mean` [B, D], their mean over tokens with L2 norm 1.
  """
  needs = ('text_ids', 'text_mask')

  @functools.cache
  def mask():
    return activations['text_mask'].astype(bool)

  @functools.cache
  def states():
    tokens = activations['text_ids'].astype(np.int32)
    return np.asarray(_hidden_states(model, tokens, mask()))

  def hidden(number):
    return lambda: states()[number]

  def mean():
    return text_pooling.masked_mean(states()[-1], mask())

  computed = {'text_hidden': hidden(-1), 'text_mean': mean}
  for key in activations:
    if match := re.fullmatch(r'text_hidden_(\d{1,4})', key):
      computed[key] = hidden(int(match[1]))
  return {
    key: checks.Check(needs, STATES, compute)
    for key, compute in computed.items()
  }
