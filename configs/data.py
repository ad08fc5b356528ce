r"""A check and a summary of a data set, before anything learns from it.

  python main.py --config=configs/data.py \
    --config.files.annotations=captions_val2017.json \
    --config.files.images=val2017

counts records, caption lengths, image sizes, questions and faults, and writes
them to runs/data/data.html with a contact sheet. It takes a minute for 5,000
images, and memory for their ids alone. The data set is a file of records, of
JourneyDB, COCO's captions or LLaVA, a folder of images with texts, tar shards
(`shards/{000..010}.tar`) or a TFDS dataset (`tfds:coco_captions@val`): the form
is recognized (docs/data.md). The same settings give it to the other jobs.

Variants as in `configs/pair_dpo.py`: show_o_256 and show_o_512 measure captions
with the tokenizer of Phi-1.5 in checkpoints/phi-1_5.
"""

import ml_collections

from configs import pair_dpo


def get_config(variant='shapes'):
  """Returns settings for `hermesflow_jax.jobs.data`."""
  main_config = pair_dpo.get_config(variant)
  config = ml_collections.ConfigDict()
  config.job = 'data'

  # Data.
  config.files = {
    'annotations': '',
    'images': '',  # '': the folder of the annotations.
    'questions': '',  # A file of TIFA questions.
    'on_error': 'skip',  # 'raise': a fault ends the job with one line.
    'form': 'auto',
    'fields': '',  # E.g. 'caption=text,image=file'.
    'caption_choice': 'first',  # Of several captions of an image.
  }

  # Measures: those of the model that will read the data.
  config.text = main_config.text
  sizes = main_config.sizes
  if sizes:
    config.caption_tokens = sizes.lengths.max_text
    config.pixels = 16 * sizes.grid[0]  # MAGVIT-v2 reduces each side by 16.
  else:
    config.caption_tokens, config.pixels = 14, 64
  config.decode = True  # False reads the headers of images alone.
  config.sheet = 24
  config.threads = 8
  config.official = False  # Also initial_data.json and vqa_data.json.
  return config
