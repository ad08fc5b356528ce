"""Removes from tensor names the prefixes that training programs add.

  module.                                  DataParallel, DeepSpeed
  _orig_mod.                               torch.compile
  _fsdp_wrapped_module.                    FSDP
  model., base_model.model.                classes around the model, PEFT

Any prefix is removed that makes the names those of a weight table.
"""

import collections
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import re
from typing import Any

import numpy as np

from conversions import weight_rows

# Parts of names, at any place, that stand for a class around a module.
WRAPPERS = frozenset(
  [
    '_orig_mod',
    '_fsdp_wrapped_module',
    '_fpw_module',
    '_checkpoint_wrapped_module',
    '_forward_module',
  ]
)
LORA = re.compile(r'(^|\.)(lora_|base_layer\.)')
# Buffers of earlier releases of transformers, which follow from the sizes.
FREQUENCIES = re.compile(r'.*\.rotary_emb\.inv_freq')


class Names:
  """The tensor names of a kind of model.

  Args:
    rows: its weight table.
    constants: names of its constants.
    outer: beginning of most names, which an inner model lacks, e.g. 'showo.'.
  """

  def __init__(
    self,
    rows: Sequence[weight_rows.WeightRow],
    constants: Iterable[str] = (),
    outer: str = '',
  ):
    patterns = [row.torch_name for row in rows] + [*constants]
    self.outer = outer
    self._expression = _any_of(patterns)
    self._inner = _any_of(p.removeprefix(outer) for p in patterns)

  def prefixes(self, name: str, inner: bool = False) -> list[str]:
    """Returns prefixes, up to a dot, after which a name of this kind follows.

    Args:
      name: torch name.
      inner: whether names lack `outer`.
    """
    expression = self._inner if inner else self._expression
    starts = [0] + [match.end() for match in re.finditer(r'\.', name)]
    return [name[:i] for i in starts if expression.fullmatch(name, i)]


def _any_of(patterns: Iterable[str]) -> re.Pattern:
  return re.compile(
    '|'.join(re.escape(p).replace(r'\*', r'\d+') for p in patterns)
  )


def plain(
  state_dict: Mapping[str, Any],
  kind: str,
  names_of_kinds: Mapping[str, Names],
  say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
  """Returns tensors under the names of their kind's table.

  Args:
    state_dict: torch name -> tensor.
    kind: key in `names_of_kinds`.
    names_of_kinds: the names of all kinds.
    say: receives a line if names were changed.

  Returns:
    torch name -> tensor. Names that the kind does not have are unchanged.

  Raises:
    ValueError: the tensors are those of several models or of another kind, or
      LoRA adapters. The one-line message says what to do.
  """
  _refuse_adapters(state_dict)
  tensors = _without_wrappers(state_dict)
  names = names_of_kinds[kind]
  prefix, inner = _prefix(tensors, names), False
  if prefix is None and names.outer:
    prefix = _prefix(tensors, names, inner=True)
    inner = prefix is not None
  _refuse_other_kind(tensors, kind, names_of_kinds)
  if not prefix and not inner and tensors.keys() == state_dict.keys():
    return tensors
  added = names.outer if inner else ''
  changed = {
    added + name.removeprefix(prefix or '')
    if names.prefixes(name, inner)
    else name: tensor
    for name, tensor in tensors.items()
  }
  if len(changed) != len(tensors):
    raise ValueError(
      f'the names of tensors must differ without {prefix!r}, got some twice'
    )
  parts = sorted({p for name in state_dict for p in name.split('.')} & WRAPPERS)
  without = [part + '.' for part in parts] + [prefix] * bool(prefix)
  text = 'names of tensors are read'
  if without:
    text += ' without ' + ' and '.join(map(repr, without))
  if added:
    text += f' with {added!r} before them'
  say(text)
  return changed


def _without_wrappers(state_dict: Mapping[str, Any]) -> dict[str, Any]:
  tensors = {}
  for name, tensor in state_dict.items():
    short = '.'.join(part for part in name.split('.') if part not in WRAPPERS)
    if short in tensors:
      raise ValueError(f'the tensor {short!r:.200} is there twice')
    tensors[short] = tensor
  return tensors


def _prefix(
  state_dict: Collection[str], names: Names, inner: bool = False
) -> str | None:
  """Returns the prefix of all names of a kind; None if no name is known."""
  counts = collections.Counter(
    prefix for name in state_dict for prefix in names.prefixes(name, inner)
  )
  if len(counts) > 1:
    listed = ', '.join(
      f'{count} tensors in {prefix or "the top level"!r:.80}'
      for prefix, count in counts.most_common(4)
    )
    raise ValueError(
      f'the tensors must be those of one model, got {listed}: save those of '
      'one alone'
    )
  return next(iter(counts), None)


def _refuse_other_kind(tensors, kind, names_of_kinds) -> None:
  """Raises ValueError if all tensors have the names of another kind only."""
  fitting = [
    k for k, names in names_of_kinds.items() if _fits(k, names, tensors)
  ]
  if fitting and kind not in fitting:
    raise ValueError(
      f'KIND must be {" or ".join(fitting)} for these tensors, got {kind}'
    )


def _fits(kind, names, tensors) -> bool:
  """Returns whether all tensors have names of a kind."""
  outer = [names.prefixes(name) for name in tensors]
  if kind == 'phi' and any(p.endswith('showo.') for ps in outer for p in ps):
    return False
  if kind == 'clip' and not any('text_model.' in name for name in tensors):
    return False
  # The transformer of a Show-o is a Phi with norms of queries and keys.
  inner = names.outer and (
    kind != 'showo' or any('q_layernorm' in name for name in tensors)
  )
  return all(outer) or bool(
    inner and all(names.prefixes(name, inner=True) for name in tensors)
  )


def _refuse_adapters(state_dict: Collection[str]) -> None:
  adapters = [name for name in state_dict if LORA.search(name)]
  if adapters:
    raise ValueError(
      f'the tensors must be those of a full model, got LoRA adapters, e.g. '
      f'{adapters[0]:.100}: merge them in PEFT (merge_and_unload) and save the '
      'model, or convert the folder with adapter_config.json by KIND lora'
    )


def without_frequencies(
  state_dict: Mapping[str, Any],
  theta: Any,
  say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
  """Returns tensors without rotary frequencies that their sizes imply.

  Args:
    state_dict: torch name -> tensor.
    theta: rotary base of the config.
    say: receives a line if there are such tensors.
  """
  needed = {
    name: tensor
    for name, tensor in state_dict.items()
    if not (FREQUENCIES.fullmatch(name) and _are_implied(tensor, theta))
  }
  if len(needed) < len(state_dict):
    say(
      f'{len(state_dict) - len(needed)} tensors rotary_emb.inv_freq are not '
      'read: the sizes imply them'
    )
  return needed


def _are_implied(tensor, theta) -> bool:
  if len(tensor.shape) != 1 or not isinstance(theta, int | float) or theta <= 0:
    return False
  count = tensor.shape[0]
  expected = float(theta) ** (-np.arange(count) / max(1, count))
  # bfloat16 has 8 bits.
  actual = np.asarray(tensor).astype(np.float64)
  return np.allclose(actual, expected, rtol=2**-7, atol=0)
