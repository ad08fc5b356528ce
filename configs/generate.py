r"""Images of prompts, as PNG files with a contact sheet.

  python main.py --config=configs/generate.py \
    --config.prompts="('two red rings', 'a blue square and a large cross')"

draws four images of each prompt with the shipped model of the embedded world,
in under a minute on two CPU cores. Prompts may also come from a file with one
a line (`--config.file=prompts.txt`). Parts of an image are drawn anew with
`--config.image=a.png --config.mask=mask.png`, and its borders extended with
`--config.image=a.png --config.extend="('right', 'down')"`. Variants are those
of `configs/pair_dpo.py`, e.g. with Show-o's weights:

  python main.py --config=configs/generate.py:show_o_512
"""

import ml_collections

from configs import pair_dpo


def get_config(variant='shapes'):
  """Returns the settings of `hermesflow_jax.jobs.generate`."""
  main_config = pair_dpo.get_config(variant)
  config = ml_collections.ConfigDict(pair_dpo.model_settings(main_config))
  config.job = 'generate'

  # Prompts.
  if variant == 'shapes':
    config.prompts = (
      'a large red ring',
      'two blue squares',
      'a yellow triangle and a black cross',
    )
  else:
    config.prompts = (
      'a red bench under a tree',
      'a corgi that wears a blue hat',
    )
  config.file = ''  # More prompts, one a line.
  config.image = ''  # An image to start from,
  config.mask = ''  # white where it is drawn anew,
  config.extend = ()  # or sides to which it grows.
  config.on_error = 'raise'

  # Sampling.
  config.each = 4  # Images of a prompt.
  config.sampler = main_config.play.evaluation_sampler
  config.seed = 0
  return config
