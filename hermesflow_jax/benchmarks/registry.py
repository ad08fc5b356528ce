"""Benchmarks by name."""

import dataclasses
import functools
import importlib

from hermesflow_jax.benchmarks import protocol

# Module and class of each benchmark; a module is imported when it is needed.
BENCHMARKS = {
  'pope': ('pope', 'Pope'),
  'mme': ('mme', 'Mme'),
  'flickr30k': ('flickr30k', 'Flickr30k'),
  'vqav2': ('vqav2', 'VqaV2'),
  'gqa': ('gqa', 'Gqa'),
  'mmmu': ('mmmu', 'Mmmu'),
  'geneval': ('geneval', 'GenEval'),
  'geneval2': ('geneval2', 'GenEval2'),
  'dpg': ('dpg', 'DpgBench'),
  'coco': ('coco', 'Coco'),
  'tifa': ('tifa', 'Tifa'),
  'gap': ('understanding_gap', 'UnderstandingGap'),
}

# Settings of where the user has each benchmark, a field for each.
Sources = dataclasses.make_dataclass(
  'Sources',
  [
    (name, protocol.BenchmarkFiles, protocol.BenchmarkFiles())
    for name in BENCHMARKS
  ],
  frozen=True,
)


def make(
  name: str,
) -> protocol.UnderstandingBenchmark | protocol.DrawingBenchmark:
  """Returns a benchmark.

  Args:
    name: a key of BENCHMARKS.

  Raises:
    ValueError: no benchmark has this name.
  """
  if name not in BENCHMARKS:
    raise ValueError(
      f'benchmark must be one of {", ".join(BENCHMARKS)}, got {name!r}'
    )
  return _make(*BENCHMARKS[name])


@functools.cache
def _make(module, kind):
  return getattr(
    importlib.import_module(f'hermesflow_jax.benchmarks.{module}'), kind
  )()
