"""Settings of fine-tuning of tiny models."""

import dataclasses

import configs.pretrain
from hermesflow_jax.jobs import fine_tune
from hermesflow_jax.runtime import settings

STEPS = 6


def configured(base, data, **changes):
  """Settings of a run of STEPS steps on the images of `data`."""
  values = configs.pretrain.get_config('pictures')
  assert values.job == 'fine_tune'
  del values.job
  values.new_model = None
  values.update(
    {
      'init_from': str(base),
      'tokenizer': '',
      't2i': (dataclasses.asdict(data) | {'weight': 1.0},),
      'batches': {'t2i': 8, 'mmu': 8, 'lm': 8},
      'log_every': 1,
      'save_every': 3,
      'mesh': {'data': 4, 'model': 2},
    }
  )
  for source in values.t2i:
    del source['questions']
  values.optim.update({'lr': 1e-2, 'steps': STEPS, 'warmup': 0.0})
  values.update(changes)
  return settings.build(fine_tune.Settings, values.to_dict())
