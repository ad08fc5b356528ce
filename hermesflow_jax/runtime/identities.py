"""Identities of runs and models: the settings that decide if they are the same.

A run's identity has all settings but those that may change when it resumes
(`settings.may_change_on_resume`). A model's identity also leaves out those of
its arithmetic (`settings.numerics`). The identity of a run's content leaves out
paths (`settings.path_of_content`).
"""

from collections.abc import Callable
from collections.abc import Container
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import json
import reprlib

from hermesflow_jax.runtime import type_hints


def identity_of(
  kind: type,
  values: Mapping,
  of: str = 'run',
  defaults: bool = True,
  contents: Container[str] | None = None,
) -> dict:
  """Returns the settings that decide whether two runs or models are the same.

  Args:
    kind: a dataclass.
    values: its fields as JSON types, e.g. a record that an earlier release
      wrote. Keys that are no fields are kept.
    of: 'run', 'model', 'content', or 'untrained' for the content of a run
      without a checkpoint (`settings.of_learning`).
    defaults: whether a missing field gets its default.
    contents: keys of the hashes that paths are left out for, if `of` is
      'content' or 'untrained'; None for all.

  Returns:
    `values` without the fields that are no part of this identity, also in
    nested dataclasses.
  """
  fields = {field.name: field for field in dataclasses.fields(kind)}
  hints = type_hints.hints(kind)
  out = {key: value for key, value in values.items() if key not in fields}
  for name, field in fields.items():
    key = field.metadata.get('content')
    compared = key and contents is not None and key not in contents
    if of in field.metadata.get('no_part_of', ()) and not compared:
      continue
    if name in values:
      value = values[name]
    elif defaults and field.default is not dataclasses.MISSING:
      value = json.loads(json.dumps(field.default, default=_as_dict))
    else:
      continue
    out[name] = _identity(hints[name], value, of, defaults, contents)
  return out


def paths_of(kind: type, values: Mapping) -> dict:
  """Returns the paths among settings, also in nested dataclasses.

  Args:
    kind: a dataclass.
    values: its fields as JSON types.

  Returns:
    Values of fields declared with `settings.path_of_content`.
  """
  out = {}
  hints = type_hints.hints(kind)
  for field in dataclasses.fields(kind):
    hint, value = _plain(hints[field.name]), values.get(field.name)
    if 'content' in field.metadata:
      out[field.name] = value
    elif dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
      out[field.name] = paths_of(hint, value)
  return out


def _plain(hint):
  """Returns an annotation without conditions and without None."""
  hint, _ = type_hints.split_annotation(hint)
  if inner := type_hints.optional_type(hint):
    return _plain(inner)
  return hint


def same_model(a, b) -> bool:
  """Returns whether two configs of modules give weights the same meaning."""
  return type(a) is type(b) and model_identity(a) == model_identity(b)


def model_identity(instance) -> dict:
  """Returns the settings that give a model's weights their meaning.

  Args:
    instance: a dataclass instance, e.g. a config of a module.

  Returns:
    Its fields by name, without those declared with `settings.numerics` or
    `settings.may_change_on_resume`.
  """
  return identity_of(type(instance), dataclasses.asdict(instance), of='model')


def differences(
  old, new, name: str = 'config', keys: Callable = set.union
) -> Iterator[str]:
  """Yields '<setting> <old value> -> <new value>' for each that differs.

  Args:
    old: JSON types.
    new: JSON types.
    name: their name; settings in a mapping follow it after a dot.
    keys: two sets of keys -> the keys to compare.
  """
  if isinstance(old, dict) and isinstance(new, dict):
    for key in keys(set(old), new):
      yield from differences(old.get(key), new.get(key), f'{name}.{key}', keys)
  elif old != new:
    yield f'{name} {reprlib.repr(old)} -> {reprlib.repr(new)}'


def _as_dict(value):
  if dataclasses.is_dataclass(value):
    return dataclasses.asdict(value)
  return str(value)


def _identity(hint, value, of, defaults, contents):
  hint, _ = type_hints.split_annotation(hint)
  if inner := type_hints.optional_type(hint):
    return _identity(inner, value, of, defaults, contents)
  if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
    return identity_of(hint, value, of, defaults, contents)
  if (element := type_hints.element_type(hint)) and isinstance(
    value, (list, tuple)
  ):
    return [_identity(element, item, of, defaults, contents) for item in value]
  return value
