"""The first steps of a small run, pinned: a change of the numbers is told.

  PYTHONPATH=. python tests/pair_dpo/test_official_trajectory.py

writes them anew, where a change is meant.
"""

import functools
import json
import pathlib

import jax
import numpy as np
import pytest
import tiny
import tiny_pairs

from hermesflow_jax.data import pipeline
from hermesflow_jax.pair_dpo import record_rows
from hermesflow_jax.runtime import sharding
from hermesflow_jax.training import adamw
from hermesflow_jax.training import train_step

PATH = pathlib.Path(__file__).parent / 'trajectory.json'
STEPS = 12
WATCHED = (
  'train/loss',
  'train/grad_norm',
  'und/accuracy',
  'gen/accuracy',
  'und/margin',
  'gen/margin',
  'gen/mask_ratio',
)


def trajectory(shape=(1, 1), accumulate=1, remat='none'):
  """{metric: its values}; the data, the order and the masks are a run's."""
  mesh = tiny.mesh(*shape)
  optim = adamw.AdamWConfig(
    lr=3e-3, steps=STEPS, eps=1e-3, accumulate=accumulate
  )
  policy, reference = (
    tiny.show_o(jax.random.key(n), remat=remat) for n in (0, 1)
  )
  state = train_step.state_from_model(policy, optim, mesh)
  reference = jax.device_put(reference, sharding.shardings(reference, mesh))
  step = train_step.make_step(
    tiny_pairs.LOSS, optim, tiny_pairs.KEY, mesh, tiny_pairs.PREPARE
  )
  records = [
    tiny_pairs.record(n, '' if n % 5 else 'no difference') for n in range(20)
  ]
  make = record_rows.make_transform(
    tiny.vocab(),
    tiny.text(),
    tiny.LENGTHS,
    drop_condition=0.3,
    fit=record_rows.packed_lengths_of(
      tiny.vocab(), tiny.text(), tiny.LENGTHS, records
    ),
  )
  batches = pipeline.batches(records, make, start=0, mesh=mesh, seed=5, batch=8)
  rows = []
  for _ in range(STEPS):
    state, metrics = step(state, reference, next(batches))
    rows.append(jax.device_get(metrics))
  return {name: [float(row[name]) for row in rows] for name in WATCHED}


@functools.cache
def pinned():
  return json.loads(PATH.read_text())


@pytest.mark.parametrize(
  'changes', [{}, {'shape': (4, 2), 'accumulate': 2, 'remat': 'dots'}]
)
def test_a_small_run_is_what_it_was(changes):
  """However it is computed, and with every version of JAX."""
  actual = trajectory(**changes)
  assert actual.keys() == pinned().keys()
  for name, values in actual.items():
    np.testing.assert_allclose(
      values, pinned()[name], rtol=1e-4, atol=1e-5, err_msg=name
    )


def test_what_is_pinned_is_a_run_that_learns():
  losses = pinned()['train/loss']
  assert len(losses) == STEPS and min(losses[6:]) < losses[0]
  assert len(set(losses)) == STEPS


if __name__ == '__main__':
  jax.config.update('jax_default_matmul_precision', 'highest')
  PATH.write_text(json.dumps(trajectory(), indent=1) + '\n')
