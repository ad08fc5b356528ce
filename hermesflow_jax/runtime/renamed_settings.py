"""Settings that earlier releases called otherwise: their old names still work.

  images_per_prompt: settings.PositiveInt = renamed_settings.earlier('each')

An old name may stand on the command line, in a config of the user, and in the
record of a run.
"""

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


def with_new_names(
  kind: type, values: Mapping, name: str = 'config'
) -> tuple[dict, list[str]]:
  """Returns settings under their new names.

  Args:
    kind: dataclass of the settings.
    values: the settings, as `settings.build` takes them. A value under an old
      name replaces that under the new one, which is the default of a config.
    name: the mapping's name in the lines.

  Returns:
    The settings, and a line for the user about each old name.
  """
  new_names, hints = type_hints.new_names(kind), type_hints.hints(kind)
  out, lines = {}, []
  for key, value in values.items():
    new = new_names.get(key, key)
    if new != key:
      lines.append(f'{name}.{key} is now called {name}.{new}')
    elif key in out:
      continue
    out[new], below = _nested(hints.get(new), value, f'{name}.{new}')
    lines += below
  return out, lines


def _nested(hint, value, name):
  """Returns a value under new names, and lines; see `with_new_names`."""
  hint, _ = type_hints.split_annotation(hint)
  if inner := type_hints.optional_type(hint):
    return _nested(inner, value, name)
  if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
    return with_new_names(hint, value, name)
  return value, []
