"""Settings of curations and of training on their pairs."""

import configs.curate
import configs.learn
from hermesflow_jax.jobs import curate
from hermesflow_jax.jobs import learn
from hermesflow_jax.runtime import settings


def curation(base) -> curate.Settings:
  """Returns settings of a curation of nine inputs."""
  config = configs.curate.get_config()
  del config.job
  config.update(
    {
      'init_from': str(base),
      'inputs': 9,
      'shard': 5,
      'images': 3,
      'captions': config.captions[-2:],
      'chunk': 1,
    }
  )
  config.sampler.update({'steps': 2, 'guidance': 0.0})
  config.rules.least_win = 0.0
  return settings.build(curate.Settings, config.to_dict())


def configured(base, pairs, **changes) -> learn.Settings:
  """Returns settings of three steps on the pairs of a curation."""
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
      'save_every': 2,
    }
  )
  config.optim.update({'steps': 3, 'lr': 1e-2})
  config.update(changes)
  return settings.build(learn.Settings, config.to_dict())
