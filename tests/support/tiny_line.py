"""A linear model that learns in a moment, and its batches."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.runtime import sharding
from hermesflow_jax.training import adamw
from hermesflow_jax.training import train_step

KEY = jax.random.key(1)


def optim(**changes):
  return adamw.AdamWConfig(**dict(lr=0.3, steps=40) | changes)


def line(key):
  """A linear model."""
  return nnx.Linear(3, 1, rngs=nnx.Rngs(key))


def squares(model, constants, batch, key):
  """Mean square error, with noise from the key; `constants` scales it."""
  error = model(batch['x']) - batch['y']
  noise = jax.random.normal(key, error.shape)
  value = constants * jnp.mean((error + 0.01 * noise) ** 2)
  return value, {'toy/noise': noise.mean()}


def batches(mesh, broken=(), start=0):
  """Endless batches; those whose number is in `broken` have a NaN."""
  number = start
  while True:
    x = np.random.default_rng(number).normal(size=(8, 3)).astype(np.float32)
    y = x.sum(-1, keepdims=True)
    if number in broken:
      y[3] = np.nan
    yield sharding.put_batch({'x': x, 'y': y}, mesh)
    number += 1


def state(mesh):
  """Step 0."""
  return train_step.init_state(line, optim(), KEY, mesh)


def step(mesh):
  """A compiled step."""
  return train_step.make_step(squares, optim(), KEY, mesh)
