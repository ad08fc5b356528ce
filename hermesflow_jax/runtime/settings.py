"""Nested plain mappings to frozen dataclasses, with every fault named at once."""

from collections.abc import Mapping
import dataclasses
import difflib
import json
import math
import types
import typing


def build(kind: type, values: Mapping, name: str = 'config'):
  """Returns an instance of a frozen dataclass.

  Args:
    kind: the dataclass; its fields may be dataclasses, bool, int, float, str,
      tuples of these, or optional ones of these; a `dict` is any mapping.
    values: a mapping with exactly its fields; those with a default may be
      left out. Numbers must be finite; a tuple may come as a list.
    name: how the mapping is called in messages.

  Raises:
    ValueError: one line that lists all faults.
  """
  faults = []
  made = _build(kind, values, name, faults)
  if faults:
    raise ValueError('; '.join(faults))
  return made


def with_changes(thing, changes: Mapping, name: str = 'config'):
  """Returns an instance of a frozen dataclass with some settings replaced.

  Args:
    thing: the instance.
    changes: new values by field; mappings go into fields that are dataclasses.
    name: how `changes` is called in messages.

  Raises:
    ValueError: see `build`.
  """
  return build(type(thing), _merged(dataclasses.asdict(thing), changes), name)


def _merged(values, changes):
  out = dict(values)
  for key, value in changes.items():
    if isinstance(value, Mapping) and isinstance(out.get(key), dict):
      value = _merged(out[key], value)
    out[key] = value
  return out


def not_identity(**options) -> dataclasses.Field:
  """Declares a setting that may change when a run goes on.

  It says where or how often something is done, and at most how sums are
  rounded, not what is computed: `chunk: int = settings.free()`.

  Args:
    **options: of `dataclasses.field`, e.g. a default.
  """
  return dataclasses.field(metadata={'identity': False}, **options)


def to_json_types(thing) -> dict:
  """Returns a dataclass instance as JSON types."""
  return json.loads(json.dumps(dataclasses.asdict(thing), default=str))


def identity(kind: type, values: Mapping) -> dict:
  """Returns the settings that make a run what it is.

  Args:
    kind: a dataclass.
    values: its fields as JSON types, e.g. of a record that an earlier release
      wrote. A field that is not there and has a default has its default; keys
      that are no fields are kept.

  Returns:
    `values` without what `not_identity` declares, at any depth.
  """
  fields = {f.name: f for f in dataclasses.fields(kind)}
  hints = typing.get_type_hints(kind)
  out = {name: v for name, v in values.items() if name not in fields}
  for name, field in fields.items():
    if 'identity' in field.metadata:
      continue
    if name in values:
      out[name] = _identity(hints[name], values[name])
    elif field.default is not dataclasses.MISSING:
      default = json.loads(json.dumps(field.default, default=_as_dict))
      out[name] = _identity(hints[name], default)
  return out


def _as_dict(value):
  return (
    dataclasses.asdict(value)
    if dataclasses.is_dataclass(value)
    else (str(value))
  )


def _identity(hint, value):
  origin, args = typing.get_origin(hint), typing.get_args(hint)
  if origin in (typing.Union, types.UnionType):
    inner = next(a for a in args if a is not type(None))
    return _identity(inner, value)
  if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
    return identity(hint, value)
  if origin is tuple and isinstance(value, (list, tuple)):
    return [_identity(args[0], each) for each in value]
  return value


def _build(kind, values, name, faults):
  fields = {f.name: f for f in dataclasses.fields(kind)}
  hints = typing.get_type_hints(kind)
  for key in values:
    if key not in fields:
      near = difflib.get_close_matches(key, fields, 1)
      hint = f', did you mean {near[0]!r}?' if near else ''
      faults.append(f'{name}.{key} is not a setting{hint}')
  kept, before = {}, len(faults)
  for key, field in fields.items():
    if key in values:
      kept[key] = _value(hints[key], values[key], f'{name}.{key}', faults)
    elif (
      field.default is dataclasses.MISSING
      and field.default_factory is dataclasses.MISSING
    ):
      faults.append(f'{name}.{key} is missing')
  if len(faults) > before:
    return None
  try:
    return kind(**kept)
  except ValueError as error:
    faults.append(f'{name}: {error}')
    return None


def _value(hint, value, name, faults):
  origin, args = typing.get_origin(hint), typing.get_args(hint)
  if origin in (typing.Union, types.UnionType):
    if value is None:
      return None
    inner = next(a for a in args if a is not type(None))
    return _value(inner, value, name, faults)
  if dataclasses.is_dataclass(hint):
    if not isinstance(value, Mapping):
      faults.append(f'{name} is {value!r}, wanted a section')
      return None
    return _build(hint, value, name, faults)
  if origin is tuple:
    if not isinstance(value, (list, tuple)):
      faults.append(f'{name} is {value!r}, wanted a list')
      return None
    return tuple(
      _value(args[0], v, f'{name}[{i}]', faults) for i, v in enumerate(value)
    )
  if hint is dict:
    if not isinstance(value, Mapping):
      faults.append(f'{name} is {value!r}, wanted a section')
      return None
    return dict(value)
  if hint is float and type(value) in (int, float):
    value = float(value)
  if type(value) is not hint:
    faults.append(f'{name} is {value!r}, wanted {hint.__name__}')
  elif hint is float and not math.isfinite(value):
    faults.append(f'{name} is {value}, wanted a finite number')
  return value


def require(
  thing,
  least: Mapping[str, float],
  above=(),
  most=types.MappingProxyType({}),
  below=types.MappingProxyType({}),
) -> None:
  """Checks bounds of an instance's fields, for use in `__post_init__`.

  Args:
    thing: the instance.
    least: smallest permitted value by field name.
    above: names of fields that must be greater than zero.
    most: largest permitted value by field name.
    below: what a field must be less than, by its name.

  Raises:
    ValueError: lists every field out of bounds.
  """
  faults = [
    f'{name} is {getattr(thing, name)}, wanted at least {bound}'
    for name, bound in least.items()
    if not getattr(thing, name) >= bound
  ]
  faults += [
    f'{name} is {getattr(thing, name)}, wanted more than 0'
    for name in above
    if not getattr(thing, name) > 0
  ]
  faults += [
    f'{name} is {getattr(thing, name)}, wanted at most {bound}'
    for name, bound in most.items()
    if not getattr(thing, name) <= bound
  ]
  faults += [
    f'{name} is {getattr(thing, name)}, wanted less than {bound}'
    for name, bound in below.items()
    if not getattr(thing, name) < bound
  ]
  if faults:
    raise ValueError('; '.join(faults))
