"""Settings of GRPO on the embedded world (docs/grpo.md)."""


def grpo():
  """Returns changes to `play` of configs/pair_dpo.py: GRPO on images."""
  return {
    'images': 8,
    'epochs': 3.0,
    'batch': 32,
    'optim': {'lr': 3e-4, 'warmup': 0.3},
    'objective': {
      'method': 'grpo',
      'ratio': 'sum',
      'und_weight': 0.0,
      'und_sft_weight': 0.0,
      'gen_sft_weight': 0.0,
      'masks': 4,
      'mask_progress': (0.0, 1.0),  # Noisy masks alone harm later rounds.
    },
  }
