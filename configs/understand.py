r"""Captions for images, and answers about them.

  python main.py --config=configs/understand.py \
    --config.images="('runs/generate/images',)" \
    --config.questions="('how many objects are there ?',)"

takes under a minute on two CPU cores. Images are files, folders and globs.
`--config.files.annotations=<data set>` reads the images of a data set, e.g.
COCO's captions or tar shards (docs/data.md).
With `--config.choices="('one', 'two')"` the likeliest choice is the answer.
Variants as in `configs/pair_dpo.py`, e.g. with Show-o's weights:

  python main.py --config=configs/understand.py:show_o_512 --config.images=...

A list is Python, JSON (`--config.images='["a.png"]'`), words between commas
(`--config.choices=yes,no`) or a repeated flag.
"""

import ml_collections

from configs import pair_dpo


def get_config(variant='shapes'):
  """Returns settings for `hermesflow_jax.jobs.understand`."""
  main_config = pair_dpo.get_config(variant)
  config = ml_collections.ConfigDict(pair_dpo.model_settings(main_config))
  config.job = 'understand'
  config.vision = ''  # CLIP tower of a model with w_clip_vit.

  # Data.
  config.images = ('runs/generate/images',)
  config.files = None  # A data set in the place of images (docs/data.md).
  config.on_error = 'raise'

  # Captions and answers.
  config.caption = True
  config.caption_prompt = 'Give a caption for this image.'
  config.questions = ()
  config.choices = ()  # Possible answers; (): words of its own.
  config.choice_rule = 'constrained'

  # Sampling.
  config.decoding = {'temperature': 1.0, 'top_k': 1}  # Greedy.
  config.seed = 0
  return config
