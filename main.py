"""Starts a job: `python main.py --config=configs/pair_dpo.py`."""

import dataclasses
import importlib
import os
import shlex
import sys


def cpu_devices(cores: int) -> int:
  """Returns the largest power of two up to `cores`, at most 8."""
  return 2 ** min(3, max(1, cores).bit_length() - 1)


# Without an accelerator each core is a device of the mesh. For models of a few
# million parameters this is twice as fast as threads within an operation: 0.44
# in place of 0.87 s per pretraining step on two cores.
os.environ.setdefault(
  'XLA_FLAGS',
  '--xla_force_host_platform_device_count='
  f'{cpu_devices(len(os.sched_getaffinity(0)))}',
)
os.environ.setdefault('TRANSFORMERS_VERBOSITY', 'error')
os.environ.setdefault('TRANSFORMERS_NO_ADVISORY_WARNINGS', '1')

from absl import flags
from absl import logging
from ml_collections import config_flags

from hermesflow_jax.jobs.setup import coordinator_address
from hermesflow_jax.jobs.setup import default_workdir
from hermesflow_jax.runtime import entry_point
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal

USAGE = 'python main.py --config=configs/<job>.py[:<variant>]'
# Module of each job, by `config.job`.
JOBS = {
  'tokenizer': 'jobs.tokenizer',
  'pretrain': 'jobs.pretrain',
  'pair_dpo': 'jobs.pair_dpo',
  'seeds': 'experiments.seeds',
  'ablation': 'experiments.ablation',
  'generate': 'jobs.generate',
  'understand': 'jobs.understand',
  'curate': 'jobs.curate',
  'learn': 'jobs.learn',
  'benchmark': 'jobs.benchmark',
}


def options(argv: list[str]) -> tuple[dict, flags.FlagValues]:
  """Reads the command line.

  Args:
    argv: program name, then flags.

  Returns:
    Config values with overrides, and all flags.

  Raises:
    ValueError: a flag or the config file is wrong; the error is a single line.
  """
  values = flags.FlagValues()
  config_flags.DEFINE_config_file(
    'config',
    None,
    'Config file of the job, e.g. configs/pair_dpo.py[:variant].',
    flag_values=values,
    sys_argv=argv,
  )
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
  flags.DEFINE_bool('help', False, 'Shows this help.', flag_values=values)
  # Config files are Python code and can raise any exception.
  try:
    surplus = values(argv)[1:]
    config = None
    if values.config and not values.help:
      config = values.config.to_dict()
  except Exception as error:
    raise ValueError(reason(error)) from error
  if values.help:
    print(f'usage: {USAGE}\n{values.get_help()}')
    raise SystemExit(0)
  if config is None:
    raise ValueError(f'--config is missing; usage: {USAGE}')
  if surplus:
    raise ValueError(f'unexpected arguments: {" ".join(surplus)}')
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
    storage.path(values.workdir)
  return config, values


def reason(error: Exception) -> str:
  """Returns why a command line failed, as a short text."""
  if isinstance(error, (AttributeError, KeyError)):
    while isinstance(error.args[0], Exception):
      error = error.args[0]
    text = str(error.args[0]).replace('\n', '. ')
    if text.endswith("has no attribute 'get_config'"):
      return 'the config file has no get_config'
    return 'no such setting: ' + text
  text = str(error).split('because of an earlier failure to load: ')[-1]
  text = text.split(' Currently supported types are')[0]
  flag, _, traceback = text.partition('Error whilst parsing config file:')
  if not traceback:
    return text
  cause = traceback.strip().splitlines()[-1]
  if cause.startswith('TypeError: get_config() takes'):
    cause = 'this config has no variants'
  return flag + cause


def job_of(name: str):
  """Imports and returns a job's module.

  Raises:
    ValueError: no job has this name.
  """
  if name not in JOBS:
    *most, last = JOBS
    raise ValueError(
      f'config.job must be {", ".join(most)} or {last}, got {name!r}'
    )
  return importlib.import_module(f'hermesflow_jax.{JOBS[name]}')


def main(argv: list[str]) -> int:
  """Builds the settings, checks them and runs the job.

  Args:
    argv: program name, then flags.

  Returns:
    The exit code: 0 for success, 2 for the user's mistakes, 130 for a stopped
    run, 1 for a run that cannot continue.
  """
  logging.set_verbosity(logging.ERROR)
  # Flags of libraries must be parsed before use.
  flags.FLAGS(argv[:1])
  try:
    values, arguments = options(argv)
    name = values.pop('job', None)
    if arguments.compile_for:
      compile_for_slice(
        name,
        values,
        arguments.workdir or 'runs/compile_for',
        arguments.compile_for,
      )
      return 0
    job = job_of(name)
    started_by = shlex.join(['python', *argv])
    if 'command' in values:
      values['command'] = started_by
    config = settings.build(job.Settings, values)
    if arguments.coordinator and name not in ('pair_dpo', 'learn'):
      raise ValueError(
        f'coordinator must not be given for the job {name}, got '
        f'{arguments.coordinator}; only pair_dpo and learn run in several '
        'processes (curate: start shares with --config.shares)'
      )
    console = make_console(
      arguments.coordinator, arguments.process, arguments.processes
    )
    job.run(
      config,
      default_workdir.choose(
        arguments.workdir, name, values.get('variant', '')
      ),
      dataclasses.replace(console, command=started_by),
    )
  except ValueError as error:
    return complain(error, 2)
  except (FloatingPointError, *storage.failures()) as error:
    return complain(error, 1)
  except KeyboardInterrupt as error:
    message = str(error) or 'stopped'
    entry_point.print_error(f'{message}; the same command resumes')
    return entry_point.STOPPED
  return 0


def make_console(
  coordinator: str | None, process: int, count: int
) -> terminal.Console:
  """Joins other processes, if any; only the first process prints.

  Args:
    coordinator: 'host:port' where the first process listens, 'auto', or
      None for a single process.
    process: process number.
    count: process count.
  """
  if coordinator:
    # Imports JAX, which a single process imports later.
    from hermesflow_jax.jobs.setup import process_group

    return process_group.join(coordinator, process, count)
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
    ValueError: the job is not pair_dpo, or a setting cannot be used.
  """
  # JAX reads this variable on import; no module above imports JAX.
  os.environ['JAX_PLATFORMS'] = 'cpu'
  from hermesflow_jax.jobs import compile_for

  if name != 'pair_dpo':
    raise ValueError(
      f'config.job must be pair_dpo with --compile_for, got {name!r}'
    )
  config = settings.build(job_of(name).Settings, values)
  compile_for.run(config, workdir, topology, terminal.terminal())


def complain(error: Exception, code: int) -> int:
  """Prints an error as a single line; returns the exit code."""
  entry_point.print_error('error: ' + ' '.join(str(error).split()))
  return code


if __name__ == '__main__':
  entry_point.run(main, sys.argv)
