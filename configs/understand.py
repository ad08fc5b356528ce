"""Captions of images, and answers about them.

  python main.py --config=configs/understand.py \
    --config.images="('runs/generate/images',)" \
    --config.questions="('how many objects are there ?',)"

Images are files, folders and globs. With `--config.choices="('one', 'two')"`
the likeliest choice is the answer. With Show-o's weights:

  python main.py --config=configs/understand.py:show_o_512 --config.images=...
"""

import ml_collections

import configs.pair_dpo


def get_config(variant='shapes'):
  """Returns the settings of `hermesflow_jax.jobs.understand`."""
  return ml_collections.ConfigDict(
    {
      'job': 'understand',
      **configs.pair_dpo.start_of(configs.pair_dpo.get_config(variant)),
      'images': ('runs/generate/images',),
      'caption': True,
      'questions': (),
      'choices': (),
      'choice_rule': 'constrained',
      'caption_prompt': 'Give a caption for this image.',
      'decoding': {'temperature': 1.0, 'top_k': 1},
      'seed': 0,
      'on_error': 'raise',
    }
  )
