"""A tiny model that learns from files of pairs in the official form."""

import pathlib

import configs.learn
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.jobs import learn
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import unified_model


def learn_settings(base: pathlib.Path, pairs, **changes) -> learn.Settings:
  """Returns settings of two steps from the model at `base`."""
  config = configs.learn.get_config()
  del config.job
  config.update(
    {
      'init_from': str(base),
      'pairs': str(pairs),
      'both': False,
      'batch': 8,
      'epochs': 0.0,
      'log_every': 1,
      'save_every': 0,
    }
  )
  config.optim.update({'steps': 2, 'lr': 1e-2})
  config.update(changes)
  return settings.build(learn.Settings, config.to_dict())


def load_model(base: pathlib.Path) -> unified_model.UnifiedModel:
  """Returns the model at `base` on a mesh."""
  config = learn_settings(base, base)
  return job_model.place_on_mesh(
    config,
    model_bundle.load_bundle(base),
    config.mesh.make(),
    terminal.silent(),
  )
