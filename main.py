"""Starts one job: `python main.py --config=configs/pair_dpo.py`."""

import dataclasses
import importlib
import os
import shlex
import signal
import sys


def cpu_devices(cores: int) -> int:
  """Returns the largest power of two up to `cores`, at most 8."""
  return 2 ** min(3, max(1, cores).bit_length() - 1)


# Without an accelerator each core is a device of the mesh: for models of a few
# million parameters that is twice as fast as threads inside one operation
# (0.44 s against 0.87 s a pretraining step on two cores).
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

from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal

USAGE = 'python main.py --config=configs/<job>.py[:<variant>]'
# The module of each job, by the name that configs give it.
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
# Seconds in which all processes must have come.
_PATIENCE = 120


def options(argv: list[str]) -> tuple[dict, flags.FlagValues]:
  """Reads the command line.

  Args:
    argv: the program's name, then flags.

  Returns:
    (the config's values with the overrides in them, all flags).

  Raises:
    ValueError: one line that says what is wrong.
  """
  found = flags.FlagValues()
  config_flags.DEFINE_config_file(
    'config',
    None,
    'What to run, e.g. configs/pair_dpo.py[:variant].',
    flag_values=found,
    sys_argv=argv,
  )
  flags.DEFINE_string(
    'workdir',
    None,
    'Where the run writes, a folder or gs://bucket/folder; default runs/<job>.',
    flag_values=found,
  )
  flags.DEFINE_string(
    'compile_for',
    None,
    'Compile for this TPU slice, e.g. v5e:16x16, and '
    "run nothing; wants `pip install -e '.[tpu]'` and no TPU.",
    flag_values=found,
  )
  flags.DEFINE_string(
    'coordinator',
    None,
    'host:port of the first of several processes, or '
    "'auto' where a TPU slice or a cluster says who is there.",
    flag_values=found,
  )
  flags.DEFINE_integer(
    'process', 0, 'Which of the processes this is.', flag_values=found
  )
  flags.DEFINE_integer('processes', 1, 'How many there are.', flag_values=found)
  flags.DEFINE_bool('help', False, 'Shows this.', flag_values=found)
  # Config files are python: anything can go wrong in them.
  try:
    surplus = found(argv)[1:]
    if found.help or not found.config:
      values = None
    else:
      values = found.config.to_dict()
  except Exception as error:
    raise ValueError(reason(error)) from error
  if found.help:
    print(f'usage: {USAGE}\n{found.get_help()}')
    raise SystemExit(0)
  if values is None:
    raise ValueError(f'--config is missing; usage: {USAGE}')
  if surplus:
    raise ValueError(f'unexpected arguments: {" ".join(surplus)}')
  if not 0 <= found.process < found.processes:
    raise ValueError(
      f'process is {found.process}, wanted less than processes '
      f'{found.processes}'
    )
  if found.processes > 1 and not found.coordinator:
    raise ValueError('several processes want --coordinator=host:port')
  if found.coordinator and found.coordinator != 'auto':
    address(found.coordinator)
  if found.workdir:
    storage.path(found.workdir)
  return values, found


def address(coordinator: str) -> tuple[str, int]:
  """Returns (host, port) of 'host:port'.

  Raises:
    ValueError: it is nothing like that.
  """
  host, _, port = coordinator.rpartition(':')
  if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
    raise ValueError(
      f"coordinator is {coordinator!r}, wanted host:port, or 'auto'"
    )
  return host.strip('[]'), int(port)


def reason(error: Exception) -> str:
  """Returns what a failed command line says, without what it says around it."""
  if isinstance(error, (AttributeError, KeyError)):
    while isinstance(error.args[0], Exception):
      error = error.args[0]
    text = str(error.args[0]).replace('\n', '. ')
    if text.endswith("has no attribute 'get_config'"):
      return 'the config file has no get_config'
    return 'no such setting: ' + text
  text = str(error).split('because of an earlier failure to load: ')[-1]
  text = text.split(' Currently supported types are')[0]
  where, _, traced = text.partition('Error whilst parsing config file:')
  if not traced:
    return text
  last = traced.strip().splitlines()[-1]
  if last.startswith('TypeError: get_config() takes'):
    last = 'this config has no variants'
  return where + last


def job_of(name: str):
  """Returns the module of a job, imported only when it is needed."""
  if name not in JOBS:
    *most, last = JOBS
    raise ValueError(
      f'config.job must be {", ".join(most)} or {last}, got {name!r}'
    )
  return importlib.import_module(f'hermesflow_jax.{JOBS[name]}')


def main(argv: list[str]) -> int:
  """Builds the settings, checks them, runs the job.

  Returns:
    The exit code: 0 when done, 2 on the user's mistakes, 130 when stopped, 1
    when the run cannot go on.
  """
  logging.set_verbosity(logging.ERROR)
  # Libraries have flags of their own, which must be parsed before use.
  flags.FLAGS(argv[:1])
  try:
    values, given = options(argv)
    name = values.pop('job', None)
    if given.compile_for:
      compile_for_slice(
        name, values, given.workdir or 'runs/compile_for', given.compile_for
      )
      return 0
    job = job_of(name)
    command = shlex.join(['python', *argv])
    if 'command' in values:
      values['command'] = command
    config = settings.build(job.Settings, values)
    if given.coordinator and name not in ('pair_dpo', 'learn'):
      raise ValueError(
        f'the job {name} runs in one process (curate: several, with '
        '--config.shares)'
      )
    console = join(given.coordinator, given.process, given.processes)
    folder = os.path.join('runs', name, values.get('variant', ''))
    job.run(
      config,
      given.workdir or folder,
      dataclasses.replace(console, command=command),
    )
  except ValueError as error:
    return complain(error, 2)
  except (FloatingPointError, *storage.failures()) as error:
    return complain(error, 1)
  except KeyboardInterrupt as error:
    said = str(error) or 'stopped'
    print(f'{said}; the same command resumes', file=sys.stderr)
    return 130
  return 0


def join(coordinator: str | None, process: int, count: int) -> terminal.Console:
  """Joins the other processes; returns the console, silent but in the first.

  Args:
    coordinator: 'host:port' of the first, 'auto', or None for one process.
    process: which this is.
    count: how many there are.

  Raises:
    OSError: the first does not answer.
  """
  if not coordinator:
    return terminal.terminal()
  import jax

  from hermesflow_jax.runtime import interrupts
  from hermesflow_jax.runtime import processes

  who = ()
  if coordinator != 'auto':
    who = coordinator, count, process
    if process:
      # JAX would end the process with a core dump.
      processes.wait_for_coordinator(*address(coordinator), seconds=_PATIENCE)
  # The death of one is known to the others within the heartbeat's seconds.
  jax.distributed.initialize(
    *who,
    initialization_timeout=_PATIENCE,
    heartbeat_timeout_seconds=20,
    shutdown_timeout_seconds=10,
  )
  if processes.single_process():
    # JAX has taken the signals for itself, to tell others, of whom none is.
    stop_surely()
  else:
    interrupts.forward_interrupts()
  if processes.is_first():
    return terminal.terminal()
  return terminal.silent()


def compile_for_slice(
  name: str, values: dict, workdir: str, topology: str
) -> None:
  """Compiles the programs of a run for a TPU slice, on this machine's CPU."""
  # JAX reads it when it is imported, which no module above does.
  os.environ['JAX_PLATFORMS'] = 'cpu'
  from hermesflow_jax.jobs import compile_for

  if name != 'pair_dpo':
    raise ValueError(f'--compile_for wants the job pair_dpo, not {name!r}')
  config = settings.build(job_of(name).Settings, values)
  compile_for.run(config, workdir, topology, terminal.terminal())


def complain(error: Exception, code: int) -> int:
  """Prints one line about an error; returns the exit code."""
  print('error: ' + ' '.join(str(error).split()), file=sys.stderr)
  return code


def stop_surely() -> None:
  """Makes SIGTERM act like Ctrl-C, and sees to it that neither gets lost.

  Python drops what is raised within a destructor or a garbage collection, and
  JAX does work in both. Then the interrupt is raised again a moment later.
  """
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  signal.signal(signal.SIGALRM, signal.default_int_handler)
  report = sys.__unraisablehook__

  def again(lost):
    if issubclass(lost.exc_type, KeyboardInterrupt):
      signal.setitimer(signal.ITIMER_REAL, 0.1)
    else:
      report(lost)

  sys.unraisablehook = again


if __name__ == '__main__':
  stop_surely()
  code = main(sys.argv)
  # The run has ended, and says how: python forgets its handlers before it does.
  signal.signal(signal.SIGTERM, signal.SIG_IGN)
  signal.signal(signal.SIGALRM, signal.SIG_IGN)
  sys.exit(code)
