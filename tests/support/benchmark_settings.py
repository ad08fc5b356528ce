"""Settings of the benchmark with a small model."""

import configs.benchmark
from hermesflow_jax.jobs import benchmark
from hermesflow_jax.runtime import settings

SIZES = {
  'vocab': {'text_size': 60, 'codebook_size': 64, 'eos': 50},
  'decoder': {
    'width': 64,
    'layers': 2,
    'heads': 4,
    'mlp': 256,
    'remat': 'none',
  },
  'tokenizer': {
    'ch': 8,
    'encoder_ch_mult': (1, 2),
    'decoder_ch_mult': (1, 2),
    'encoder_num_res_blocks': (1, 1),
    'decoder_num_res_blocks': (1, 1),
    'z_channels': 4,
    'num_groups': 4,
  },
}


def configured(**changes):
  """Returns `benchmark.Settings` with a small model and some changes."""
  config = configs.benchmark.get_config()
  del config.job
  config.update(SIZES | {'repeats': 1})
  return settings.build(benchmark.Settings, config.to_dict() | changes)
