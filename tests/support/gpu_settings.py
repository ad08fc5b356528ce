"""Settings of the GPU benchmark with a small model and small workloads."""

import dataclasses

import benchmark_settings

import configs.benchmark
from hermesflow_jax.jobs import gpu_benchmark
from hermesflow_jax.runtime import settings

# By kind of workload.
SMALL = {
  'images': {'count': 2, 'grid': 4, 'steps': 2, 'text': 8},
  'replies': {
    'images': 2,
    'replies_per_image': 2,
    'grid': 4,
    'prompt': 4,
    'tokens': 3,
  },
  'choices': {
    'images': 2,
    'questions_per_image': 2,
    'choices': 2,
    'grid': 4,
    'prompt': 4,
  },
  'steps': {'pairs': 2, 'grid': 4, 'text': 8, 'prompt': 4, 'reply': 3},
  'pixels': {'count': 2, 'size': 8},
  'attention': {'rows': 2, 'queries': 18, 'text': 6},
}


def configured(names=None, **changes):
  """Returns the settings of configs/benchmark.py:h200 with small workloads.

  Args:
    names: names of the measurements; None for all.
    **changes: other settings.
  """
  config = configs.benchmark.get_config('h200').to_dict()
  del config['job']
  config |= {
    'vocab': benchmark_settings.SIZES['vocab'],
    'tokenizer': benchmark_settings.SIZES['tokenizer'],
    'decoder': {'width': 64, 'layers': 2, 'heads': 4, 'mlp': 256},
    'repeats': 1,
  }
  kept = []
  for entry in config['measurements']:
    if names is not None and entry['name'] not in names:
      continue
    for kind, sizes in SMALL.items():
      if kind in entry.get('workload', {}):
        entry['workload'] |= {kind: entry['workload'][kind] | sizes}
    kept.append(entry)
  config['measurements'] = tuple(kept)
  if names is not None:
    config['comparisons'] = tuple(
      c
      for c in config['comparisons']
      if c['first'] in names and c['second'] in names
    )
  return settings.build(gpu_benchmark.Settings, config | changes)


def profiled(entry):
  """Returns a measurement that also runs under the profiler."""
  return dataclasses.replace(entry, profile=True)
