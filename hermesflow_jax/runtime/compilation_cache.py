"""Compiled programs are kept on disk, so that the next run need not compile.

This is JAX's persistent compilation cache, in the user's cache folder. The
environment decides otherwise: JAX_COMPILATION_CACHE_DIR names another folder,
and JAX_ENABLE_COMPILATION_CACHE=false turns the cache off.
"""

import hashlib
import os
import pathlib
import platform
import warnings

import jax

# Most bytes of a folder; programs that were not used for long make way.
MOST_BYTES = 2**30
# Programs that compile faster are compiled again.
LEAST_SECONDS = 0.1


def enable() -> None:
  """Turns the cache on, unless the environment or a caller has chosen one."""
  if jax.config.jax_compilation_cache_dir is not None:
    return
  folder = _folder()
  try:
    # Only its owner may write there: a program in it is run.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
  except OSError:
    return
  if not os.access(folder, os.W_OK):
    return
  jax.config.update('jax_compilation_cache_dir', str(folder))
  jax.config.update('jax_compilation_cache_max_size', MOST_BYTES)
  jax.config.update('jax_persistent_cache_min_compile_time_secs', LEAST_SECONDS)
  # A full disk, or a program that another process is writing: it is compiled.
  warnings.filterwarnings(
    'ignore', 'Error (reading|writing) persistent compilation cache'
  )


def _folder() -> pathlib.Path:
  """Returns this machine's folder: programs suit one kind of processor."""
  home = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  kind = hashlib.sha256(_processor().encode()).hexdigest()[:8]
  return pathlib.Path(home) / 'hermesflow_jax' / f'programs-{kind}'


def _processor() -> str:
  """Returns the processor's model and instruction sets as text."""
  try:
    text = pathlib.Path('/proc/cpuinfo').read_text(errors='replace')
  except OSError:
    return f'{platform.machine()} {platform.processor()}'
  first = text.partition('\n\n')[0].splitlines()
  names = ('model name', 'flags', 'Features', 'CPU part')
  return '\n'.join(line for line in first if line.startswith(names))
