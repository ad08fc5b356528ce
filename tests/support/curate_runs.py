"""Small curations."""

import json
import pathlib

import configs.curate
from hermesflow_jax.curation import candidate_generation
from hermesflow_jax.jobs import curate
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal

ROOT = pathlib.Path(__file__).parents[2]
SMALL = {'inputs': 10, 'shard': 3, 'images': 3, 'chunk': 1}


def configured(base, **changes):
  """Returns settings of a curation of ten inputs in four shards."""
  config = configs.curate.get_config()
  del config.job
  config.update({'init_from': str(base)} | SMALL)
  config.captions = config.captions[-2:]
  config.sampler.update({'steps': 2, 'guidance': 0.0})
  config.rules.update({'least_win': 0.0})
  config.update(changes)
  return settings.build(curate.Settings, config.to_dict())


def run(base, folder, **changes):
  """Runs the job; returns the manifest or None, and the printed lines."""
  output = []
  console = terminal.Console(output.append, lambda label: lambda x: x)
  return curate.run(configured(base, **changes), str(folder), console), output


def outcome(folder):
  """Returns the bytes of the shards and pairs, by name."""
  files = [*(folder / 'shards').iterdir(), folder / 'pairs.jsonl']
  return {path.name: path.read_bytes() for path in files}


def rows_of(folder):
  """Returns the records of `pairs.jsonl`."""
  lines = (folder / 'pairs.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def stopped_at_third(monkeypatch):
  """Interrupts the third shard that is made; returns the ids of all."""
  created, calls = candidate_generation.generate, []

  def counted(unified, inputs, config):
    calls.append(inputs.ids)
    if len(calls) == 3:
      raise KeyboardInterrupt
    return created(unified, inputs, config)

  monkeypatch.setattr(candidate_generation, 'generate', counted)
  return calls
