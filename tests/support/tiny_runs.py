"""Runs of training of the linear model of `tiny_line`."""

import jax.numpy as jnp
import tiny_line

from hermesflow_jax.runtime import terminal
from hermesflow_jax.training import training_loop


def training_run(mesh, steps, *, loop, broken=(), **changes):
  """A run of `steps` steps.

  Args:
    mesh: device mesh.
    steps: last step.
    loop: further fields of its LoopConfig.
    broken: numbers of the batches with a NaN.
    **changes: fields of the run that differ.
  """
  fields = dict(
    step=tiny_line.step(mesh),
    make_state=lambda: tiny_line.state(mesh),
    constants=jnp.float32(1.0),
    batches=lambda start: tiny_line.batches(mesh, broken, start),
    config=training_loop.LoopConfig(steps, **loop),
    mesh=mesh,
    folder='',
    identity={'a': 1},
    label='toy',
    console=terminal.silent(),
  )
  return training_loop.TrainingRun(**fields | changes)
