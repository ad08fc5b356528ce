"""Settings that a command line changes: `--config.<setting>=<value>`.

ml_collections reads the flags of numbers, texts and booleans by the types that
the config has. It cannot read lists, nor settings whose value is None. Their
texts stay as they are (`flag_texts.FlagText`) until `settings.build` knows the
types of the job's settings.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import difflib
import re

from absl import flags
import ml_collections
from ml_collections import config_flags

from hermesflow_jax.command import job_list
from hermesflow_jax.runtime import flag_texts

_FLAG = re.compile(r'--?config\.([^=]+)(?:=(.*))?', re.DOTALL)


@dataclasses.dataclass
class Override:
  """A setting on the command line.

  Attributes:
    path: field names and indices.
    texts: its values, in order.
  """

  path: tuple
  texts: list[str]


def apply(
  config: ml_collections.ConfigDict,
  arguments: Sequence[str],
  values: flags.FlagValues,
) -> tuple[dict, list[str], set[str]]:
  """Applies overrides to a config.

  Args:
    config: settings; they are changed.
    arguments: program, then flags and other arguments.
    values: receives the flags of the overrides; other flags in it are
      suggested in errors.

  Returns:
    The settings, with a `FlagText` for each list and each setting that was
    None; the arguments that are no flags; and the names of the settings that
    the flags give, e.g. 'play.rounds'.

  Raises:
    Exception: of absl or ml_collections, for a flag that cannot be read.
    ValueError: a setting and a part of it are both given.
  """
  texts, others = _take_texts(config, arguments)
  config_flags.DEFINE_config_dict(
    'config', config, flag_values=values, sys_argv=others
  )
  surplus = values(others)[1:]
  for name in texts:
    for argument in arguments[1:]:
      match = _FLAG.fullmatch(argument)
      if match and re.match(re.escape(name) + r'[.\[]', match[1]):
        raise ValueError(
          f'config.{name} must not be given together with its part '
          f'config.{match[1]}; give all of config.{name} at once'
        )
  settings = config.to_dict()
  for override in texts.values():
    _assign(settings, override.path, flag_texts.FlagText(tuple(override.texts)))
  return settings, surplus, _names(arguments)


def _names(arguments) -> set[str]:
  """Returns the names of the settings that flags give."""
  matches = map(_FLAG.fullmatch, arguments)
  return {match[1] for match in matches if match}


def _take_texts(config, arguments):
  """Splits arguments into texts of settings by name, and all others."""
  texts, others = {}, []
  remaining = iter(arguments)
  for argument in remaining:
    match = _FLAG.fullmatch(argument)
    path = match and _split(match[1])
    if not path:
      others.append(argument)
      continue
    name, text = match.groups()
    if not _needs_text(config, path, text):
      others.append(_with_python_mapping(config, path, argument, text))
      continue
    if text is None:
      text = next(remaining, None)
      if text is None:
        raise ValueError(f'config.{name} must have a value, got none')
    texts.setdefault(name, Override(path, [])).texts.append(text)
  return texts, others


def _split(name):
  """Returns 'a.b[0]' as ('a', 'b', 0); None if it has another form."""
  try:
    path = config_flags.config_path.split(name)
  except ValueError:
    return None
  return path if all(isinstance(part, (str, int)) for part in path) else None


def _needs_text(config, path, text):
  """Returns whether ml_collections cannot read a setting's flag."""
  value = config
  for part in path:
    if value is None:
      return True
    try:
      value = value[part]
    except (KeyError, IndexError, TypeError, AttributeError):
      return _is_optional(config, path)
  if isinstance(value, ml_collections.ConfigDict):
    return text is not None and flag_texts.is_none(text)
  return value is None or isinstance(value, (tuple, list, dict))


def _is_optional(config, path):
  """Returns whether a config may have a setting that it leaves out."""
  job = job_list.JOBS.get(config.get('job'))
  if job is None:
    return False
  kind = job_list.import_job(config.job).Settings
  return flag_texts.hint_at(kind, path) is not None


def _with_python_mapping(config, path, argument, text):
  """Returns a flag with a JSON mapping as a Python mapping."""
  if text is None or not text.strip().startswith('{'):
    return argument
  try:
    value = flag_texts.literal(text)
  except ValueError:
    return argument
  return f'{argument[: -len(text)]}{value!r}'


def _assign(settings, path, value):
  """Sets a nested value; replaces None on its way by mappings."""
  *parents, last = path
  for part in parents:
    child = settings[part] if isinstance(part, int) else settings.get(part)
    if child is None:
      child = settings[part] = {}
    settings = child
  settings[last] = value


def type_name(config: ml_collections.ConfigDict, name: str) -> str:
  """Returns the type of a setting, e.g. 'int' or 'a mapping'.

  Args:
    config: settings.
    name: its name, e.g. 'play.rounds'.
  """
  value = config_flags.config_path.get_value(name, config)
  if isinstance(value, ml_collections.ConfigDict):
    return 'a mapping'
  return 'true or false' if isinstance(value, bool) else type(value).__name__


def exists(config: ml_collections.ConfigDict, name: str) -> bool:
  """Returns whether a config has a setting, or takes it as a text.

  Args:
    config: settings.
    name: its name, e.g. 'play.rounds', 'mesh' or 'files.images'.
  """
  path = _split(name)
  if not path:
    return False
  try:
    config_flags.config_path.get_value(name, config)
  except IndexError:
    return False
  except (AttributeError, KeyError, TypeError, ValueError):
    return _needs_text(config, path, '')
  return True


def suggestion(config: ml_collections.ConfigDict, name: str) -> str | None:
  """Returns the setting whose name is most alike, e.g. 'config.play.rounds'.

  Of equal names the least nested is returned, and `play` before other groups.

  Args:
    config: settings.
    name: name that is not a setting, e.g. 'rounds'.
  """
  known = [other for other, _ in setting_values(config)]
  last = name.rpartition('.')[2]
  same = [other for other in known if other.rpartition('.')[2] == last]
  same.sort(key=lambda other: (other.count('.'), other.split('.')[0] != 'play'))
  near = same or difflib.get_close_matches(name, known, 1)
  return f'config.{near[0]}' if near else None


def setting_values(config, prefix: str = '') -> Iterator[tuple[str, object]]:
  """Yields (dotted name, value) of each setting that is no mapping."""
  for key, value in config.items():
    if isinstance(value, ml_collections.ConfigDict):
      yield from setting_values(value, f'{prefix}{key}.')
    else:
      yield f'{prefix}{key}', value
