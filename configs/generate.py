"""Images of prompts, as PNG files with a contact sheet.

  python main.py --config=configs/generate.py \
    --config.prompts="('two red rings', 'a blue square and a large cross')"

draws four of each with the shipped model of the embedded world. A file with a
prompt a line (`--config.file=prompts.txt`), parts of an image
(`--config.image=a.png --config.mask=mask.png`), beyond its borders
(`--config.image=a.png --config.extend="('right', 'down')"`). With Show-o's
weights:

  python main.py --config=configs/generate.py:show_o_512
"""

import ml_collections

import configs.pair_dpo


def get_config(variant='shapes'):
  """Returns the settings of `hermesflow_jax.jobs.generate`."""
  play = configs.pair_dpo.get_config(variant)
  config = ml_collections.ConfigDict(
    {
      'job': 'generate',
      **configs.pair_dpo.start_of(play),
      'prompts': (
        'a large red ring',
        'two blue squares',
        'a yellow triangle and a black cross',
      ),
      'file': '',
      'each': 4,
      'seed': 0,
      'sampler': play.play.evaluation_sampler,
      'image': '',
      'mask': '',
      'extend': (),
      'on_error': 'raise',
    }
  )
  if variant != 'shapes':
    config.prompts = (
      'a red bench under a tree',
      'a corgi that wears a blue hat',
    )
  return config
