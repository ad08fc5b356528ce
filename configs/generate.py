r"""Images for prompts, as PNG files with a contact sheet.

  python main.py --config=configs/generate.py \
    --config.prompts="('two red rings', 'a blue square and a large cross')"

draws four images for each prompt with the embedded world's shipped model, in
under a minute on two CPU cores. Prompts may also come from a file
(`--config.file=prompts.txt`): a prompt a line, JSON lines with a field "prompt"
as of GenEval, or a folder with a text file per prompt as of DPG-Bench. A mask
names the parts to draw anew (`--config.image=a.png --config.mask=mask.png`),
`extend` the sides where an image grows (`--config.image=a.png
--config.extend="('right', 'down')"`).
Variants as in `configs/pair_dpo.py`, e.g. with Show-o's weights:

  python main.py --config=configs/generate.py:show_o_512

A list is Python, JSON (`--config.prompts='["a red ring"]'`) or a repeated
flag; a text alone is a list of that text.
"""

import ml_collections

from configs import pair_dpo
from configs import show_o


def get_config(variant='shapes'):
  """Returns settings for `hermesflow_jax.jobs.generate`."""
  main_config = pair_dpo.get_config(variant)
  config = ml_collections.ConfigDict(pair_dpo.model_settings(main_config))
  config.job = 'generate'

  # Prompts.
  if variant in pair_dpo.EMBEDDED:
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
  config.examples = config.prompts  # Not drawn beside a file.
  config.file = ''  # More prompts, see above.
  config.image = ''  # An image to start from,
  config.mask = ''  # white where it is drawn anew,
  config.extend = ()  # or sides to which it grows.
  config.on_error = 'raise'

  # Sampling.
  config.images_per_prompt = 4
  config.sampler = main_config.play.evaluation_sampler
  config.search = show_o.search()  # Off; docs/search.md.
  config.seed = 0
  return config
