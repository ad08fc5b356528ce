"""Prompts from settings and from a text file."""

import collections
from collections.abc import Sequence

from hermesflow_jax.runtime import storage


def read_prompts(texts: Sequence[str], path: str) -> list[tuple[str, str]]:
  """Returns prompts without repetition, each with its fault.

  Args:
    texts: prompts from the settings.
    path: text file with a prompt per line; '' for none.

  Returns:
    (prompt, fault) in order; a valid prompt has the fault ''.

  Raises:
    ValueError: the file cannot be read.
  """
  prompts = list(texts)
  if path:
    try:
      with storage.open_text(storage.path(path)) as file:
        prompts += file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
      raise ValueError(f'{path} cannot be read: {error}') from error
  prompts = [' '.join(prompt.split()) for prompt in prompts]
  counts, checked = collections.Counter(), []
  for prompt in prompts:
    counts[prompt] += 1
    fault = ''
    if not prompt:
      fault = 'it is empty'
    elif counts[prompt] == 2:
      fault = 'it occurs twice; set `each` to draw a prompt several times'
    elif counts[prompt] > 2:
      continue
    checked.append((prompt, fault))
  return checked
