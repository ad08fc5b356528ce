"""Reads the command line: a config, its settings, and flags of the program."""

from collections.abc import Sequence
import errno
import os
import pathlib
import re

from absl import flags

from hermesflow_jax.command import config_files
from hermesflow_jax.command import help_text
from hermesflow_jax.command import overrides
from hermesflow_jax.jobs.setup import coordinator_address
from hermesflow_jax.runtime import storage


def program_flags() -> flags.FlagValues:
  """Returns the flags that do not belong to a config, not parsed yet."""
  values = flags.FlagValues()
  # Flags may follow the name of a job.
  values.set_gnu_getopt(True)
  flags.DEFINE_string(
    'workdir',
    None,
    'Run folder, local or gs://bucket/folder; default runs/<job>.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'compile_for',
    None,
    'Compile for this TPU slice, e.g. v5e:16x16, and run nothing. Needs '
    "`pip install -e '.[tpu]'`, but no TPU.",
    flag_values=values,
  )
  flags.DEFINE_string(
    'coordinator',
    None,
    "host:port of the first of several processes, or 'auto' on a TPU slice or "
    'a cluster that knows its processes.',
    flag_values=values,
  )
  flags.DEFINE_integer(
    'process', 0, 'Number of this process, from 0.', flag_values=values
  )
  flags.DEFINE_integer(
    'processes', 1, 'Number of processes.', flag_values=values
  )
  flags.DEFINE_float(
    'join_seconds',
    None,
    'Seconds to wait until all processes have joined; default 12, or 120 with '
    '--coordinator=auto.',
    lower_bound=0.1,
    upper_bound=1e6,
    flag_values=values,
  )
  flags.DEFINE_bool(
    'help', False, 'Shows this help, or that of a job.', flag_values=values
  )
  flags.DEFINE_bool('version', False, 'Shows the version.', flag_values=values)
  return values


def read(argv: Sequence[str]) -> tuple[dict, flags.FlagValues, set[str]]:
  """Reads the command line.

  Args:
    argv: program name, then the name of a job, if any, and flags.

  Returns:
    Config values with overrides, all flags, and the names of the overrides.
    Lists and settings that are None in the config may be a
    `flag_texts.FlagText`.

  Raises:
    ValueError: a flag or the config file is wrong; the error is a single line.
    SystemExit: help or version were printed.
  """
  values = program_flags()
  flags.DEFINE_string(
    'config',
    None,
    'Config file, or the name of a job, e.g. pair_dpo[:<variant>]',
    flag_values=values,
  )
  argv = [argv[0], *('--help' if a == '-h' else a for a in argv[1:])]
  if argv[1:2] == ['help']:
    argv = [argv[0], *argv[2:], '--help']
  try:
    others = values(argv, known_only=True)
  except flags.Error as error:
    raise ValueError(str(error)) from error
  if values.version:
    print(help_text.version())
    raise SystemExit(0)
  reference = values.config
  if reference is None:
    others, reference = _take_job(others)
  else:
    _check_order(argv)
  if values.help:
    _print_help(argv[0], reference, values)
    raise SystemExit(0)
  if reference is None:
    raise ValueError(
      f'--config is missing; usage: {help_text.usage(argv[0])}; --help lists '
      'the jobs'
    )
  config = config_files.load(reference)
  try:
    settings, surplus, names = overrides.apply(config, others, program_flags())
  except Exception as error:
    raise ValueError(_reason(error, config, others)) from error
  if surplus:
    variant = ':' not in reference and re.fullmatch(r'\w+', surplus[0])
    raise ValueError(
      f'unexpected arguments: {" ".join(surplus)}'
      + (f'; a variant is {reference}:{surplus[0]}' if variant else '')
    )
  _check(values)
  return settings, values, names


def _take_job(others):
  """Splits arguments into (all others, name of a job or None)."""
  for number, argument in enumerate(others[1:], 1):
    before = others[number - 1]
    if argument.startswith('-') and argument != '-':
      continue
    if number == 1 or not re.fullmatch(r'--?config\.[^=]+', before):
      return [*others[:number], *others[number + 1 :]], argument
  return others, None


def _check_order(argv):
  """Raises ValueError if a setting comes before the config."""
  for argument in argv[1:]:
    if re.match(r'--?config(=|$)', argument):
      return
    if re.match(r'--?(no)?config\.', argument):
      raise ValueError(
        f'--config must be given before its settings, got {argument} first'
      )


def _print_help(path, reference, values):
  """Prints the help of the program, or that of a config."""
  if reference is None:
    print(help_text.overview(path, values.get_help()))
    return
  config = config_files.load(reference)
  file = config_files.locate(reference.partition(':')[0])
  print(help_text.of_config(path, config_files.description(file), config))


def _check(values):
  """Raises ValueError if the program's flags do not fit together."""
  if not 0 <= values.process < values.processes:
    raise ValueError(
      f'process must be less than processes, {values.processes}, got '
      f'{values.process}'
    )
  if values.processes > 1 and not values.coordinator:
    raise ValueError(
      'coordinator must be given for several processes, got None; give '
      '--coordinator=host:port'
    )
  if values.coordinator and values.coordinator != 'auto':
    coordinator_address.parse(values.coordinator)
  if values.workdir:
    _check_length(storage.path(values.workdir))


def _check_length(workdir: pathlib.PurePath) -> None:
  """Raises ValueError if the system takes no folder with a name so long."""
  if not storage.is_local(workdir):
    return
  try:
    os.lstat(workdir / 'settings.json')
  except OSError as error:
    if error.errno == errno.ENAMETOOLONG:
      longest = max(len(os.fsencode(part)) for part in workdir.parts)
      raise ValueError(
        'workdir must be a path that the system can store (names of at most '
        f'255 bytes, most often), got {len(os.fsencode(workdir))} bytes '
        f'with a name of {longest}; give a shorter --workdir'
      ) from error


def _reason(error, config, arguments):
  """Returns why an override failed, as a short text."""
  if isinstance(error, flags.UnrecognizedFlagError):
    text = str(error)
    name = overrides.suggestion(config, error.flagname)
    if name and 'Did you mean' not in text:
      text += f'; did you mean --{name}?'
    return text
  if isinstance(error, flags.IllegalFlagValueError):
    return _wrong_value(str(error), config)
  if 'tuple' in str(error) and (text := _element(arguments)):
    return text
  if isinstance(error, (AttributeError, KeyError, IndexError)):
    while isinstance(error.args[0], Exception):
      error = error.args[0]
    text = 'no such setting: ' + str(error.args[0]).replace('\n', '. ')
    return text + (
      '' if 'Did you mean' in text else _unknown(config, arguments)
    )
  text = str(error).split(' Currently supported types are')[0]
  if text.startswith('Could not parse'):
    return 'no such setting' + _unknown(config, arguments)
  return text


def _element(arguments):
  """Returns why an element of a list of texts or numbers cannot be set."""
  for argument in arguments:
    if match := re.match(r'--?config\.([^=]+)\[(-?\d+)\](=|$)', argument):
      return (
        f'config.{match[1]} must be set as a list, got its element '
        f'[{match[2]}]; give --config.{match[1]}="(..., ...)"'
      )
  return ''


def _wrong_value(text, config):
  """Returns 'config.<name> must be <type>, got ...' for a flag's value."""
  match = re.match(r'flag --config\.([^=]+)=(.*?): ', text, re.DOTALL)
  kind = match and overrides.type_name(config, match[1])
  if not kind:
    return text
  return (
    f'config.{match[1]} must be {kind}, got {match[2]!r} in '
    f'--config.{match[1]}={match[2]}'
  )


def _unknown(config, arguments):
  """Returns ' (config.<name>)' of an unknown setting, and one like it."""
  for argument in arguments:
    name = re.match(r'--?(?:no)?config\.([^=]*)', argument)
    if name and not overrides.exists(config, name[1]):
      near = overrides.suggestion(config, re.sub(r'\[.*?\]', '', name[1]))
      advice = f'; did you mean --{near}?' if near else ''
      return f' (config.{name[1]}){advice}'
  return ''
