"""A tokenizer in the form of Phi-1.5's, read once in a process."""

import functools
import pathlib

from hermesflow_jax.sequences import text_tokenizer

FOLDER = pathlib.Path(__file__).parents[1] / 'phi_tokenizer'


@functools.cache
def tokenizer() -> text_tokenizer.TextTokenizer:
  """Returns the tokenizer, which no test may change."""
  return text_tokenizer.load(str(FOLDER))
