"""Type annotations of settings, taken apart."""

from collections.abc import Mapping
import dataclasses
import functools
import types
import typing

# Key of a field's earlier name in its metadata; see `renamed_settings`.
EARLIER_NAME = 'earlier_name'


@functools.cache
def hints(kind: type) -> Mapping[str, typing.Any]:
  """Returns the annotations of a dataclass by field, with their conditions.

  Args:
    kind: a dataclass.
  """
  return typing.get_type_hints(kind, include_extras=True)


def new_names(kind: type) -> Mapping[str, str]:
  """Returns the fields of a dataclass that had another name, by that name.

  Args:
    kind: a dataclass.
  """
  return {
    field.metadata[EARLIER_NAME]: field.name
    for field in dataclasses.fields(kind)
    if EARLIER_NAME in field.metadata
  }


def is_required(field: dataclasses.Field) -> bool:
  """Returns whether a dataclass field has no default."""
  return (
    field.default is dataclasses.MISSING
    and field.default_factory is dataclasses.MISSING
  )


def advice_on_parts(hint, name: str) -> str:
  """Returns '; give ...' with flags of a group's first parts; '' for others.

  Args:
    hint: annotation of the setting.
    name: its name, e.g. 'config.files.held_out'.
  """
  kind, _ = split_annotation(hint)
  if not dataclasses.is_dataclass(kind) or not name.startswith('config.'):
    return ''
  first = [f'--{name}.{field.name}' for field in dataclasses.fields(kind)[:2]]
  return f'; give {" and ".join(first)}'


def split_annotation(hint) -> tuple[typing.Any, tuple]:
  """Returns the type and the conditions that an annotation holds.

  Args:
    hint: any annotation.
  """
  if typing.get_origin(hint) is typing.Annotated:
    return hint.__origin__, hint.__metadata__
  return hint, ()


def optional_type(hint):
  """Returns T of the annotation `T | None`, and None for other annotations.

  Args:
    hint: any annotation.
  """
  if typing.get_origin(hint) in (typing.Union, types.UnionType):
    return next(a for a in typing.get_args(hint) if a is not types.NoneType)
  return None


def element_type(hint):
  """Returns T of the annotation `tuple[T, ...]`; None for other annotations.

  Args:
    hint: any annotation.
  """
  is_tuple = typing.get_origin(hint) is tuple
  return typing.get_args(hint)[0] if is_tuple else None
