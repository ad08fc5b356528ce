"""Jobs by name: the module of each."""

import importlib
import types

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
  'gpu_benchmark': 'jobs.gpu_benchmark',
  'official_benchmark': 'jobs.official_benchmark',
  'data': 'jobs.data',
  'judge': 'jobs.judge',
  'questions': 'jobs.questions',
  'fine_tune': 'jobs.fine_tune',
  'serve': 'jobs.serve',
  'serve_benchmark': 'jobs.serve_benchmark',
  'growth_benchmark': 'jobs.growth_benchmark',
  'evaluate': 'jobs.evaluate',
  'evaluate_import': 'jobs.evaluate_import',
}


def import_job(name: str) -> types.ModuleType:
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
