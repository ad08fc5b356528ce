"""Every setting of every config has a flag."""

import dataclasses
import json

import pytest

from hermesflow_jax.command import command_flags
from hermesflow_jax.command import config_files
from hermesflow_jax.command import job_list
from hermesflow_jax.runtime import settings

VARIANTS = {
  'ablation': ('table5', 'methods', 'settings', 'recipe'),
  'benchmark': ('cpu', 'step', 'host'),
  'curate': ('shapes', 'show_o_256', 'show_o_512', 'small_256'),
  'generate': ('shapes', 'show_o_512'),
  'learn': ('shapes', 'show_o_512'),
  'pair_dpo': (
    'shapes',
    'show_o_512',
    'small_512',
    'decoder_7b',
    'grpo_hard',
    'answers',
  ),
  'understand': ('shapes', 'show_o_512'),
}
# Settings that a config leaves to the user.
OWN = {
  'evaluate': ('--config.benchmarks=pope',),
  'questions': (
    '--config.endpoint.url=http://127.0.0.1:8000/v1',
    '--config.endpoint.model=a-model',
  ),
}
CHANGES = [
  (f'{job}:{first}', f'{job}:{second}')
  for job, variants in VARIANTS.items()
  for first in variants[:2]
  for second in variants
  if first != second
]


def built(*arguments):
  """Returns the settings of a job that a command line starts."""
  values, *_ = command_flags.read(['main.py', *arguments])
  job = job_list.import_job(values.pop('job'))
  return settings.build(job.Settings, values)


def flags(value, name='config'):
  """Yields a flag for each setting; parts of dataclasses have their own."""
  for field in dataclasses.fields(value):
    item, path = getattr(value, field.name), f'{name}.{field.name}'
    if dataclasses.is_dataclass(item):
      yield from flags(item, path)
    elif isinstance(item, (tuple, dict)):
      yield f'--{path}={json.dumps(item, default=dataclasses.asdict)}'
    else:
      yield f'--{path}={item}'


def test_all_configs_are_walked():
  assert set(VARIANTS) < set(config_files.names())


@pytest.mark.parametrize('name', list(config_files.names()))
def test_flags_set_every_setting_of_a_config(name):
  config = built(f'--config={name}', *OWN.get(name, ()))
  assert built(name, *flags(config)) == config


@pytest.mark.parametrize('first, second', CHANGES)
def test_flags_turn_a_variant_into_any_other(first, second):
  """Data and sizes of the embedded world are None, which no flag could set."""
  expected = built(second)
  assert built(first, *flags(expected)) == expected
