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


def use_grpo(config):
  """Changes the config of configs/pair_dpo.py to GRPO on images."""
  play = config.play
  play.update(grpo())
  config.inputs, play.rounds = 1_200, 6
  play.captions = play.captions[:2]  # Nothing is learned from them.
  play.label_rows = 64  # A quarter faster than 512 and whole groups.


def use_hard_inputs(config):
  """Changes the config to GRPO on the inputs that are still hard.

  It draws two images of each input, and the others only where one of the two
  has a wrong answer (docs/grpo.md, "Only hard inputs").
  """
  use_grpo(config)
  config.inputs, config.play.rounds = 2_400, 12
  config.play.first_images, config.play.easy_score = 2, 1.0
