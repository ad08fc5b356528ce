"""The first steps of a small run, pinned, however a step is computed.

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


@functools.cache
def trajectory(shape=(1, 1), accumulate=1, remat='none', steps=STEPS):
  """Metrics of each step, and the state after the first, as leaves.

  The data, the order and the masks are those of a run.
  """
  mesh = tiny.mesh(*shape)
  # With Adam's own epsilon a gradient that is only rounding is a whole step.
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
  for number in range(steps):
    state, metrics = step(state, reference, next(batches))
    rows.append(jax.device_get(metrics))
    if not number:
      first = jax.device_get(jax.tree.leaves(state))
  return rows, first


def series(rows):
  """{metric: its values}."""
  return {name: [float(row[name]) for row in rows] for name in WATCHED}


@functools.cache
def pinned():
  return json.loads(PATH.read_text())


# A mesh of both axes, and one that splits the model alone.
WAYS = (
  {'shape': (4, 2), 'accumulate': 2, 'remat': 'dots'},
  {'shape': (1, 8), 'accumulate': 8, 'remat': 'full', 'steps': 1},
)


@pytest.mark.parametrize('changes', [{}, WAYS[0]])
def test_a_small_run_is_what_it_was(changes):
  """However it is computed, and with every version of JAX."""
  actual = series(trajectory(**changes)[0])
  assert actual.keys() == pinned().keys()
  for name, values in actual.items():
    np.testing.assert_allclose(
      values, pinned()[name], rtol=1e-4, atol=1e-5, err_msg=name
    )


@pytest.mark.parametrize('changes', WAYS)
def test_meshes_parts_and_remat_are_one_step(changes):
  (actual, *_), state = trajectory(**changes)
  (expected, *_), expected_state = trajectory()
  tiny_pairs.assert_close(state, expected_state, 1e-5)
  tiny_pairs.assert_close(actual, expected, 1e-4)


def test_what_is_pinned_is_a_run_that_learns():
  losses = pinned()['train/loss']
  assert len(losses) == STEPS and min(losses[6:]) < losses[0]
  assert len(set(losses)) == STEPS


if __name__ == '__main__':
  jax.config.update('jax_default_matmul_precision', 'highest')
  PATH.write_text(json.dumps(series(trajectory()[0]), indent=1) + '\n')
