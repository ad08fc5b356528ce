"""A tiny model that learns from files of pairs in the official form."""

import dataclasses
import pathlib

import learn_runs

from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.jobs import learn
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import unified_model


def learn_settings(base: pathlib.Path, pairs, **changes) -> learn.Settings:
  """Returns settings of two steps from the model at `base`."""
  config = learn_runs.configured(base, pairs, save_every=0)
  optim = dataclasses.replace(config.optim, steps=2)
  return dataclasses.replace(config, optim=optim, **changes)


def load_model(base: pathlib.Path) -> unified_model.UnifiedModel:
  """Returns the model at `base` on a mesh."""
  config = learn_settings(base, base)
  return job_model.place_on_mesh(
    config,
    model_bundle.load_bundle(base),
    config.mesh.make(),
    terminal.silent(),
  )
