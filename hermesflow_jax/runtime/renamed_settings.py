"""Settings that earlier releases called otherwise: their old names still work.

  images_per_prompt: settings.PositiveInt = renamed_settings.earlier('each')

An old name may stand on the command line, in a config of the user, and in the
record of a run.
"""

from collections.abc import Container
from collections.abc import Mapping
import dataclasses

from hermesflow_jax.runtime import type_hints


def earlier(name: str, **options) -> dataclasses.Field:
  """Declares a setting that had another name.

  Args:
    name: its name in earlier releases.
    **options: `dataclasses.field` arguments, e.g. a default.
  """
  return dataclasses.field(metadata={type_hints.EARLIER_NAME: name}, **options)


def of_this_release(kind: type, values: Mapping) -> dict:
  """Returns settings of a dataclass, but not of those in it, by new names.

  Args:
    kind: the dataclass.
    values: its fields. A value under an old name replaces that under the new
      one, which is the default of a config.
  """
  new_names = type_hints.new_names(kind)
  by_new = {key: values[key] for key in values if key not in new_names}
  by_old = {new_names[key]: values[key] for key in values if key in new_names}
  return by_new | by_old


def with_new_names(
  kind: type, values: Mapping, flags: Container[str] = (), prefix: str = ''
) -> tuple[dict, list[str]]:
  """Returns settings under their new names.

  Args:
    kind: dataclass of the settings.
    values: the settings, as `settings.build` takes them; see
      `of_this_release`.
    flags: names of settings on the command line, e.g. 'play.rounds': these
      replace what a config has under an old name.
    prefix: their names begin with it.

  Returns:
    The settings, and a line for the user about each old name.

  Raises:
    ValueError: the command line gives a setting by both names.
  """
  new_names, hints = type_hints.new_names(kind), type_hints.hints(kind)
  lines, left_out = [], set()
  for key in (key for key in values if key in new_names):
    old, new = f'{prefix}{key}', f'{prefix}{new_names[key]}'
    text = f'config.{old} is now called config.{new}'
    if old in flags and new in flags:
      raise ValueError(f'{text}; give one of them')
    lines.append(text)
    if new in flags:
      left_out.add(key)
  values = {key: item for key, item in values.items() if key not in left_out}
  out = {}
  for key, value in of_this_release(kind, values).items():
    out[key], below = _nested(hints.get(key), value, flags, f'{prefix}{key}.')
    lines += below
  return out, lines


def _nested(hint, value, flags, prefix):
  """Returns a value under new names, and lines; see `with_new_names`."""
  hint, _ = type_hints.split_annotation(hint)
  if inner := type_hints.optional_type(hint):
    return _nested(inner, value, flags, prefix)
  if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
    return with_new_names(hint, value, flags, prefix)
  return value, []
