"""The program: reads the command line and starts a job or a conversion."""

import contextlib
import dataclasses
import errno
import importlib
import os
import re
import shlex
import sys
from typing import NoReturn

from absl import flags
from absl import logging

from hermesflow_jax.command import command_flags
from hermesflow_jax.command import help_text
from hermesflow_jax.command import job_list
from hermesflow_jax.command import project_folder
from hermesflow_jax.jobs.setup import default_workdir
from hermesflow_jax.runtime import entry_point
from hermesflow_jax.runtime import processor_cores
from hermesflow_jax.runtime import renamed_settings
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import write_faults

# Jobs whose processes compute together.
_IN_SEVERAL_PROCESSES = ('pair_dpo', 'learn', 'fine_tune', 'evaluate')


class StoppedWithoutProgress(KeyboardInterrupt):
  """Stop of a job that keeps no partial results."""


def cpu_devices(cores: int) -> int:
  """Returns the largest power of two up to `cores`, at most 8."""
  return 2 ** min(3, max(1, cores).bit_length() - 1)


def set_environment() -> None:
  """Sets variables that JAX and transformers read when they are imported.

  Without an accelerator each core is a device of the mesh. For models of a few
  million parameters this is twice as fast as threads within an operation: 0.44
  in place of 0.87 s per pretraining step on two cores.
  """
  os.environ.setdefault(
    'XLA_FLAGS',
    '--xla_force_host_platform_device_count='
    f'{cpu_devices(processor_cores.usable())}',
  )
  os.environ.setdefault('TRANSFORMERS_VERBOSITY', 'error')
  os.environ.setdefault('TRANSFORMERS_NO_ADVISORY_WARNINGS', '1')


def main(argv: list[str]) -> int:
  """Builds the settings, checks them and runs the job.

  Args:
    argv: program name, then the name of a job, if any, and flags; or
      'convert' or 'verify' and their arguments.

  Returns:
    The exit code: 0 for success, 2 for the user's mistakes, 130 for a stopped
    run, 1 for a run that cannot continue.
  """
  set_environment()
  # Libraries raise what they log as errors, with tracebacks, from threads.
  logging.set_verbosity(logging.FATAL)
  write_faults.silence_repeats()
  # Flags of libraries must be parsed before use.
  flags.FLAGS(argv[:1])
  try:
    if argv[1:] and argv[1] in help_text.CONVERSIONS:
      return convert(argv)
    run_job(argv)
  except ValueError as error:
    return complain(error, 2, argv[0])
  except (FloatingPointError, *storage.failures()) as error:
    # A setting that names a file with too long a name is a user's mistake.
    too_long = getattr(error, 'errno', None) == errno.ENAMETOOLONG
    return complain(error, 2 if too_long else 1, argv[0])
  except KeyboardInterrupt as error:
    message = str(error) or 'stopped'
    is_lost = isinstance(error, StoppedWithoutProgress)
    effect = 'begins anew' if is_lost else 'resumes'
    entry_point.print_error(f'{message}; the same command {effect}')
    return entry_point.STOPPED
  return 0


def convert(argv: list[str]) -> int:
  """Runs `conversions.convert` or `conversions.verify`; returns its exit code.

  Args:
    argv: program name, name of the conversion, its arguments.
  """
  project_folder.add_to_path()
  module = importlib.import_module(f'conversions.{argv[1]}')
  # Ends with help, or an error, in the name of this program.
  parser = module.command_line()
  parser.prog = f'{help_text.program_name(argv[0])} {argv[1]}'
  parser.description = help_text.with_program(parser.description, argv[0])
  parser.parse_args(argv[2:])
  return module.main(argv[2:], terminal.terminal())


def run_job(argv: list[str]) -> None:
  """Runs the job that a command line names.

  Args:
    argv: program name, then the name of a job, if any, and flags.

  Raises:
    ValueError: unusable flag, setting, file or workdir.
  """
  values, arguments, names = command_flags.read(argv)
  name = values.pop('job', None)
  if arguments.compile_for:
    with _advice_after_stop(resumes=False):
      compile_for_slice(
        name,
        values,
        arguments.workdir or 'runs/compile_for',
        arguments.compile_for,
      )
    return
  job = job_list.import_job(name)
  with _advice_after_stop(getattr(job, 'RESUMES', True)):
    values, notes = renamed_settings.with_new_names(job.Settings, values, names)
    _start(job, name, values, arguments, notes, argv)


@contextlib.contextmanager
def _advice_after_stop(resumes: bool):
  """Marks a stop of what keeps no partial results."""
  try:
    yield
  except KeyboardInterrupt as error:
    if resumes:
      raise
    raise StoppedWithoutProgress(str(error)) from error


def _start(job, name, values, arguments, notes, argv):
  """Checks the settings of a job and runs it."""
  command = ' '.join(
    [help_text.program_name(argv[0]), *map(shlex.quote, argv[1:])]
  )
  if 'command' in values:
    values['command'] = command
  config = settings.build(job.Settings, values)
  if arguments.coordinator and name not in _IN_SEVERAL_PROCESSES:
    *most, last = _IN_SEVERAL_PROCESSES
    raise ValueError(
      f'coordinator must not be given for the job {name}, got '
      f'{arguments.coordinator}; only {", ".join(most)} and {last} run in '
      'several processes (curate: start shares with --config.shares)'
    )
  if arguments.workdir and name == 'judge' and config.action == 'import':
    raise ValueError(
      f'workdir must not be given with judge:import, got {arguments.workdir}; '
      'its results stand in the folder of --config.source'
    )
  console = make_console(
    arguments.coordinator,
    arguments.process,
    arguments.processes,
    arguments.join_seconds,
  )
  for line in notes:
    console.say(line)
  if getattr(job, 'USES_DEVICES', True):
    # Imports JAX, after the mistakes above are reported.
    from hermesflow_jax.runtime import compilation_cache
    from hermesflow_jax.runtime import freed_memory
    from hermesflow_jax.runtime import platforms

    freed_memory.keep()
    platforms.check()
    compilation_cache.enable()
  job.run(
    config,
    default_workdir.choose(arguments.workdir, name, values.get('variant', '')),
    dataclasses.replace(
      console,
      say=lambda line: console.say(help_text.with_program(line, argv[0])),
      command=command,
    ),
  )


def make_console(
  coordinator: str | None,
  process: int,
  count: int,
  seconds: float | None = None,
) -> terminal.Console:
  """Joins other processes, if any; only the first process prints.

  Args:
    coordinator: 'host:port' where the first process listens, 'auto', or
      None for a single process.
    process: process number.
    count: process count.
    seconds: longest time to wait for other processes; None for the default.
  """
  if coordinator:
    # Imports JAX, which a single process imports later.
    from hermesflow_jax.jobs.setup import process_group

    return process_group.join(coordinator, process, count, seconds)
  return terminal.terminal()


def compile_for_slice(
  name: str, values: dict, workdir: str, topology: str
) -> None:
  """Compiles a run's programs for a TPU slice, on the CPU.

  Args:
    name: job name.
    values: config values.
    workdir: output folder.
    topology: TPU slice, e.g. 'v5e:16x16'.

  Raises:
    ValueError: the job has no programs to compile, or a setting cannot be used.
  """
  # JAX reads this variable on import.
  os.environ['JAX_PLATFORMS'] = 'cpu'
  # A flag for a setting that the config leaves out has imported JAX already.
  if 'jax' in sys.modules:
    sys.modules['jax'].config.update('jax_platforms', 'cpu')
  from hermesflow_jax.jobs import compile_for

  if name not in ('pair_dpo', 'fine_tune'):
    raise ValueError(
      'config.job must be pair_dpo or fine_tune with --compile_for, got '
      f'{name!r}'
    )
  config = settings.build(job_list.import_job(name).Settings, values)
  compile_for.run(config, workdir, topology, terminal.terminal())


def complain(error: Exception, code: int, path: str) -> int:
  """Prints an error as a single line; returns the exit code.

  Args:
    error: its text may advise commands.
    code: exit code.
    path: program name, which these commands begin with.
  """
  # Numbers of the system tell a reader nothing beside its words.
  line = re.sub(r'\[Errno -?\d+\] ', '', ' '.join(str(error).split()))
  entry_point.print_error('error: ' + help_text.with_program(line, path))
  return code


def run() -> NoReturn:
  """Runs the command line of this process, and ends the process."""
  entry_point.run(main, sys.argv)
