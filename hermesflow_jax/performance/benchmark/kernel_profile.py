"""The kernels that take most of a call, from JAX's profiler."""

import collections
from collections.abc import Callable
from collections.abc import Iterator
import pathlib
import re
import tempfile
import warnings

import jax


def profile_call(
  call: Callable, arguments: tuple, count: int = 10
) -> tuple[object, list[dict]]:
  """Runs a call under the profiler.

  Args:
    call: compiled function, which has run before.
    arguments: its arguments.
    count: kernels that are listed.

  Returns:
    The call's results, and a row per kernel: `kernel`, `calls`, `seconds` and
    `share` of all kernels' time, the longest first.
  """
  options = jax.profiler.ProfileOptions()
  # By default the profile has the operations of all programs of the process.
  options.enable_hlo_proto = False
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder, profiler_options=options):
      results = jax.block_until_ready(call(*arguments))
    return results, top_kernels(pathlib.Path(folder), count)


def top_kernels(folder: pathlib.Path, count: int) -> list[dict]:
  """Returns the longest kernels of a trace.

  Args:
    folder: folder that the profiler wrote.
    count: kernels that are listed.
  """
  seconds, calls = collections.Counter(), collections.Counter()
  for file in folder.rglob('*.xplane.pb'):
    profile = jax.profiler.ProfileData.from_file(str(file))
    # Python 3.13 warns of a type in jaxlib, which aborts where warnings raise.
    with warnings.catch_warnings(action='ignore'):
      for name, duration in _kernels(profile):
        seconds[name] += duration
        calls[name] += 1
  total = sum(seconds.values())
  return [
    {
      'kernel': name,
      'calls': calls[name],
      'seconds': duration,
      'share': duration / total,
    }
    for name, duration in seconds.most_common(count)
  ]


def _kernels(profile) -> Iterator[tuple[str, float]]:
  """Yields (kernel, seconds) of all devices, or of the operations on a CPU."""
  planes = list(profile.planes)
  # Where the TPU's library is loaded, a plane of a custom device is empty.
  devices = [p for p in planes if re.match('/device:(?!CUSTOM)', p.name)]
  for plane in devices or planes:
    for line in plane.lines:
      if devices and not line.name.startswith(('Stream', 'XLA Ops')):
        continue
      for event in line.events:
        # XLA runs a short program in Python's thread, a longer one in its own.
        if devices or any(name == 'hlo_op' for name, _ in event.stats):
          yield event.name, event.duration_ns / 1e9
