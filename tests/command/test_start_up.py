"""Help and mistakes answer at once: slow libraries are imported when needed."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
# Flags, then the settings of all jobs, in a fresh interpreter. The jobs that
# time the models themselves are the only ones that import them.
IMPORTS = """
import sys
from hermesflow_jax.command import command_flags, job_list, program
from hermesflow_jax.runtime import settings

def show(*libraries):
  print(*sorted(set(libraries) & set(sys.modules)))

OWN = {
  'evaluate': ['--config.benchmarks=pope'],
  'evaluate:import': [
    '--config.run=a', '--config.benchmark=geneval', '--config.model=b',
    '--config.results=c',
  ],
  'judge:import': ['--config.answers=a', '--config.source=b', '--config.name=c'],
  'questions': [
    '--config.endpoint.url=http://127.0.0.1:8000/v1',
    '--config.endpoint.model=a',
  ],
}
values, *_ = command_flags.read(['main.py', 'pair_dpo', '--config.play.rounds=2'])
show('jax', 'numpy', 'transformers')
built = set()
for name in (
  'tokenizer', 'pretrain', 'pretrain:pictures', 'pair_dpo', 'seeds', 'ablation',
  'generate', 'understand', 'curate', 'learn', 'data', 'judge', 'judge:import',
  'questions', 'pretrain:show_o_256', 'serve', 'benchmark:serve', 'evaluate',
  'evaluate:import', 'benchmark:growth',
):
  values, *_ = command_flags.read(['main.py', name, *OWN.get(name, [])])
  job = values.pop('job')
  values |= {'command': ''} if 'command' in values else {}
  settings.build(job_list.import_job(job).Settings, values)
  built.add(job)
show(
  'flax', 'grain', 'jinja2', 'matplotlib', 'optax', 'orbax', 'pyarrow', 'scipy',
  'starlette', 'tensorboard', 'tensorflow', 'tensorflow_datasets', 'torch',
  'transformers', 'uvicorn',
)
print(*sorted(set(job_list.JOBS) - built))
"""


def test_settings_are_read_without_slow_libraries():
  """They take up to half a second each; jax alone is imported."""
  done = subprocess.run(
    [sys.executable, '-c', IMPORTS],
    env=os.environ | {'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.stderr == ''
  flags, jobs, others = done.stdout.splitlines()
  assert (flags, jobs) == ('', '')
  assert others == 'benchmark gpu_benchmark official_benchmark'
