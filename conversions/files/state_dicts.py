"""Finds the state dict within the dictionaries that training programs save.

{'module': tensors, 'optimizer': ...}    DeepSpeed
{'state_dict': tensors, 'epoch': 3}      Lightning
{'model': tensors}                       many scripts
"""

from collections.abc import Mapping
from collections.abc import Sequence
import re
from typing import Any

MOST_LEVELS = 4
TORCH_SAVE = 'torch.save(torch.load(path){keys}, new_path)'
# Keys of tensors that are no model.
NOT_WEIGHTS = re.compile(r'optim|rng|sched|scaler|loss|buffer|callback|loop')


def select(
  value: Any, tensor: type, way_on: str = TORCH_SAVE
) -> tuple[dict[str, Any], tuple[str, ...]]:
  """Returns (tensors by name, keys that lead to them).

  Args:
    value: a saved object.
    tensor: type of the tensors in it.
    way_on: text that says how to save a single model, with {keys} in place of
      its keys.

  Raises:
    ValueError: the object holds no state dict, or several.
  """
  if not isinstance(value, dict):
    raise ValueError(
      f'it must hold a dictionary, got a {type(value).__name__.lstrip("_")}'
    )
  choices = dict(_choices(value, tensor))
  if len(choices) > 1:
    listed = ', '.join(place(keys) for keys in choices)
    first = ''.join(f'[{key!r}]' for key in next(iter(choices)))
    raise ValueError(
      f'it must hold the tensors of one model, got {listed:.200}: save one of '
      f'them alone, e.g. {way_on.format(keys=first[:100])}'
    )
  if choices:
    ((keys, tensors_by_name),) = choices.items()
    return tensors_by_name, keys
  if not value:
    return {}, ()
  name, other = next(
    (name, item)
    for name, item in dict.items(value)
    if not isinstance(name, str) or not isinstance(item, tensor)
  )
  raise ValueError(
    f'{name!r:.200} must be a tensor, got a {type(other).__name__.lstrip("_")}'
  )


def place(keys: Sequence[str]) -> str:
  """Returns keys as a text, e.g. "'state_dict', 'model'".

  Args:
    keys: dictionary keys, from the outermost on.
  """
  return ', '.join(f'{key!r:.60}' for key in keys)


def _choices(value: Mapping, tensor: type):
  """Yields (keys, tensors by name) for each state dict, the outermost first.

  A dictionary that lies in several places, or in itself, is searched once.
  """
  level, seen = [((), value)], set()
  for _ in range(MOST_LEVELS + 1):
    inner = []
    for keys, mapping in level:
      items = list(dict.items(mapping)) if id(mapping) not in seen else []
      seen.add(id(mapping))
      if not items or not all(isinstance(name, str) for name, _ in items):
        continue
      if all(isinstance(item, tensor) for _, item in items):
        yield keys, dict(items)
        continue
      inner += [
        ((*keys, name), item)
        for name, item in items
        if isinstance(item, dict) and not NOT_WEIGHTS.search(name.lower())
      ]
    level = inner
