"""Frozen dataclasses of settings, built from nested mappings and checked.

A setting states its bounds beside its type:

  @dataclasses.dataclass(frozen=True)
  class Schedule:
    batch: settings.PositiveInt
    decay: typing.Annotated[float, settings.at_least(0), settings.below(1)]
    log_every: settings.PositiveInt = settings.may_change_on_resume()

    def __post_init__(self):
      settings.check(self)

`build` checks types and bounds of all settings of a job and reports every
fault in one error. `check` applies the same bounds to a dataclass that code
constructs directly.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import difflib
import json
import math
import typing

from hermesflow_jax.runtime import flag_texts
from hermesflow_jax.runtime import number_bounds
from hermesflow_jax.runtime import renamed_settings
from hermesflow_jax.runtime import type_hints


@dataclasses.dataclass(frozen=True)
class Condition:
  """A bound of a setting, for use in `typing.Annotated`.

  Attributes:
    text: completes the sentence '<setting> must be ...'.
    holds: value -> bool.
  """

  text: str
  holds: Callable[[typing.Any], bool]


def at_least(bound: float) -> Condition:
  """Returns the condition value >= bound."""
  return Condition(f'at least {bound}', lambda value: value >= bound)


def below(bound: float) -> Condition:
  """Returns the condition value < bound."""
  return Condition(f'less than {bound}', lambda value: value < bound)


def between(low: float, high: float) -> Condition:
  """Returns the condition low <= value <= high."""
  return Condition(
    f'between {low} and {high}', lambda value: low <= value <= high
  )


def one_of(*values) -> Condition:
  """Returns the condition that a setting has one of some values."""
  *first, last = map(repr, values)
  text = f'{", ".join(first)} or {last}' if first else last
  return Condition(text, lambda value: value in values)


POSITIVE = Condition('more than 0', lambda value: value > 0)
FINITE = Condition('a finite number', math.isfinite)

# Types of settings with the most frequent bounds.
PositiveInt = typing.Annotated[int, at_least(1)]
NonNegativeInt = typing.Annotated[int, at_least(0)]
PositiveFloat = typing.Annotated[float, POSITIVE]
NonNegativeFloat = typing.Annotated[float, at_least(0)]
Fraction = typing.Annotated[float, between(0, 1)]


def check(instance) -> None:
  """Checks the bounds of a dataclass instance, for use in `__post_init__`.

  Args:
    instance: a dataclass instance, whose fields may have `Condition`s. Those
      of a subclass are checked, too.

  Raises:
    ValueError: one line that lists every field out of its bounds.
  """
  faults = []
  for name, hint in type_hints.hints(type(instance)).items():
    if hasattr(instance, name):
      faults += _violations(hint, getattr(instance, name), name)
  if faults:
    raise ValueError('; '.join(faults))


def build(kind: type, values: Mapping, name: str = 'config'):
  """Returns an instance of a frozen dataclass.

  Args:
    kind: the dataclass. Its fields may be dataclasses, bool, int, float, str,
      tuples of these, or None as an alternative; a `dict` is any mapping.
    values: a mapping with exactly its fields; fields with a default may be
      left out. Numbers must fit into 32 bits; a list may stand for a tuple,
      and a `flag_texts.FlagText` for any value.
    name: the mapping's name in messages.

  Raises:
    ValueError: one line that lists all faults.

  >>> @dataclasses.dataclass(frozen=True)
  ... class Schedule:
  ...   steps: PositiveInt
  ...   warmup: Fraction = 0.05
  >>> build(Schedule, {'steps': 100})
  Schedule(steps=100, warmup=0.05)
  >>> build(Schedule, {'steps': 0})
  Traceback (most recent call last):
  ...
  ValueError: config.steps must be at least 1, got 0
  """
  faults = []
  instance = _build(kind, values, name, faults)
  if faults:
    raise ValueError('; '.join(faults))
  return instance


def with_changes(instance, changes: Mapping, name: str = 'config'):
  """Returns an instance of a frozen dataclass with some settings replaced.

  Args:
    instance: a dataclass instance.
    changes: new values by field; a mapping changes fields of a dataclass.
    name: the name for `changes` in messages.

  Raises:
    ValueError: see `build`.
  """
  merged = _merged(dataclasses.asdict(instance), changes)
  return build(type(instance), merged, name)


def may_change_on_resume(**options) -> dataclasses.Field:
  """Declares a setting that may change when a run resumes.

  E.g. how often a job saves, how it splits a batch, or how many rounds it
  runs: `save_every: int = settings.may_change_on_resume()`. Other settings
  identify a run, which does not resume with new values of them.

  Args:
    **options: `dataclasses.field` arguments, e.g. a default.
  """
  return dataclasses.field(
    metadata={'no_part_of': ('run', 'model', 'content', 'untrained')}, **options
  )


def of_learning(**options) -> dataclasses.Field:
  """Declares a setting of learning, free until the first checkpoint."""
  return dataclasses.field(metadata={'no_part_of': ('untrained',)}, **options)


def path_of_content(key: str, **options) -> dataclasses.Field:
  """Declares a path, which may change if the content behind it is the same.

  A run keeps hashes of the content (`workdir_claim.claim_workdir`); without
  them the path identifies the run.

  Args:
    key: name of the hashes in the record of a run.
    **options: `dataclasses.field` arguments, e.g. a default.
  """
  return dataclasses.field(
    metadata={'no_part_of': ('content', 'untrained'), 'content': key}, **options
  )


def numerics(**options) -> dataclasses.Field:
  """Declares a setting of a model's arithmetic, e.g. a dtype.

  A run keeps it, as results differ. The weights keep their
  meaning if it changes: a model may be loaded with another value.

  Args:
    **options: `dataclasses.field` arguments, e.g. a default.
  """
  return dataclasses.field(metadata={'no_part_of': ('model',)}, **options)


def to_json_types(instance) -> dict:
  """Returns a dataclass instance as JSON types."""
  return json.loads(json.dumps(dataclasses.asdict(instance), default=str))


def _merged(values, changes):
  out = dict(values)
  for key, value in changes.items():
    if isinstance(value, Mapping) and isinstance(out.get(key), dict):
      value = _merged(out[key], value)
    out[key] = value
  return out


def _violations(hint, value, name) -> list[str]:
  """Returns a message for each value that does not meet its conditions."""
  hint, conditions = type_hints.split_annotation(hint)
  if inner := type_hints.optional_type(hint):
    return [] if value is None else _violations(inner, value, name)
  faults = [
    f'{name} must be {condition.text}, got {value!r}'
    for condition in conditions
    if not condition.holds(value)
  ][:1]
  if element := type_hints.element_type(hint):
    for index, item in enumerate(value):
      faults += _violations(element, item, f'{name}[{index}]')
  return faults


def _build(kind, values, name, faults):
  fields = {field.name: field for field in dataclasses.fields(kind)}
  annotations = type_hints.hints(kind)
  values = renamed_settings.of_this_release(kind, values)
  for key in values:
    if key not in fields:
      near = difflib.get_close_matches(key, fields, 1)
      hint = f', did you mean {near[0]!r}?' if near else ''
      faults.append(f'{name}.{key} is not a setting{hint}')
  arguments, before = {}, len(faults)
  for key, field in fields.items():
    place = f'{name}.{key}'
    if key in values:
      arguments[key] = _value(annotations[key], values[key], place, faults)
    elif type_hints.is_required(field):
      parts = type_hints.advice_on_parts(annotations[key], place)
      faults.append(f'{place} is missing{parts}')
  if len(faults) > before:
    return None
  try:
    return kind(**arguments)
  except ValueError as error:
    faults.append(f'{name}: {error}')
    return None


def _value(hint, value, name, faults):
  """Returns a value as the type of an annotation; appends to `faults`."""
  before = len(faults)
  value = _typed(hint, value, name, faults)
  if len(faults) == before:
    faults += _conditions(hint, value, name)
  return value


def _conditions(hint, value, name):
  """Returns the violations of a setting itself, not those of its elements."""
  _, conditions = type_hints.split_annotation(hint)
  if not conditions:
    return []
  return _violations(typing.Annotated[object, *conditions], value, name)


def _typed(hint, value, name, faults):
  if isinstance(value, flag_texts.FlagText):
    try:
      value = flag_texts.read(hint, value, name)
    except ValueError as error:
      faults.append(str(error))
      return None
  hint, _ = type_hints.split_annotation(hint)
  if inner := type_hints.optional_type(hint):
    return None if value is None else _value(inner, value, name, faults)
  if dataclasses.is_dataclass(hint):
    if isinstance(value, Mapping):
      return _build(hint, value, name, faults)
    faults.append(f'{name} must be a mapping, got {value!r}')
    return None
  if element := type_hints.element_type(hint):
    if isinstance(value, (list, tuple)):
      return tuple(
        _value(element, item, f'{name}[{index}]', faults)
        for index, item in enumerate(value)
      )
    faults.append(f'{name} must be a list, got {value!r}')
    return None
  if hint is dict:
    if isinstance(value, Mapping):
      return dict(value)
    faults.append(f'{name} must be a mapping, got {value!r}')
    return None
  if hint is float and type(value) in (int, float):
    value = number_bounds.to_float(value)
  if type(value) is not hint:
    faults.append(f'{name} must be {hint.__name__}, got {value!r}')
  elif hint in (int, float) and (bound := number_bounds.violated_bound(value)):
    faults.append(f'{name} must be {bound}, got {value}')
  return value
