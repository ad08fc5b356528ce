"""Files of self-play runs, and runs that are compared by them."""

import json

import jax
import numpy as np

from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.runtime import sharding

ROUNDS = ('round_0', 'round_1', 'round_2')
# What a clock or a memory meter says, and may differ between runs.
MEASURED = ('seconds', 'time', 'peak_memory_gib')
OF_A_CLOCK = ('time/', 'speed/', 'device/')


def lines(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def timeless(value):
  """JSON without what is measured by a clock."""
  if isinstance(value, dict):
    return {
      k: timeless(v)
      for k, v in value.items()
      if k not in MEASURED and not k.startswith(OF_A_CLOCK)
    }
  if isinstance(value, list):
    return [timeless(v) for v in value]
  return value


def model_of(config, run, number):
  """The model after a round, as numpy arrays by name."""
  actual = trained_model.load_parts(
    str(run / 'checkpoints' / str(number))
  ).model
  leaves, _ = jax.tree_util.tree_flatten_with_path(actual)
  return {sharding.path_name(p): np.asarray(a) for p, a in leaves}


def assert_same_run(config, actual, expected):
  names = [
    f'{r}/scenes{kind}.{suffix}'
    for r in ROUNDS
    for kind in ('', '_unseen')
    for suffix in ('jsonl', 'npz')
  ]
  names += [
    f'{r}/{n}' for r in ROUNDS[1:] for n in ('pairs.jsonl', 'codes.npz')
  ]
  for name in names:
    assert (actual / name).read_bytes() == (expected / name).read_bytes(), name
  names = [f'{r}/evaluation.json' for r in ROUNDS]
  names += [f'{r}/curation.json' for r in ROUNDS[1:]] + ['results.json']
  for name in names:
    a, b = (json.loads((run / name).read_text()) for run in (actual, expected))
    assert timeless(a) == timeless(b), name
  for r in ROUNDS[1:]:
    a, b = (
      timeless(lines(run / r / 'training' / 'metrics.jsonl'))
      for run in (actual, expected)
    )
    assert a == b
  for number in (1, 2):
    a, b = (model_of(config, run, number) for run in (actual, expected))
    assert a.keys() == b.keys()
    for name in a:
      np.testing.assert_array_equal(a[name], b[name])
