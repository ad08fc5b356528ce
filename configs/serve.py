r"""Serves a model to programs that speak OpenAI's API, and as a page.

  python main.py --config=configs/serve.py --config.init_from=runs/pair_dpo

prints the address. Then e.g.

  curl http://127.0.0.1:8000/v1/images/generations \
    -H 'Content-Type: application/json' -d '{"prompt": "a red ring"}'

Variants as in `configs/pair_dpo.py`, e.g. with Show-o's weights:

  python main.py --config=configs/serve.py:show_o_512
"""

import ml_collections

from configs import pair_dpo
from configs import show_o

# Settings that the benchmark of the server does not have.
ONLY_SERVED = (
  'search',
  'host',
  'port',
  'name',
  'key_variable',
  'top_k',
  'warm_up',
  'most_waiting',
  'most_body',
  'most_image',
  'most_pixels',
  'files',
  'stop_seconds',
  'access_log',
)


def get_config(variant='shapes'):
  """Returns settings for `hermesflow_jax.jobs.serve`."""
  main_config = pair_dpo.get_config(variant)
  config = ml_collections.ConfigDict(pair_dpo.model_settings(main_config))
  config.job = 'serve'
  config.vision = ''  # CLIP tower of a model with w_clip_vit.

  # Address.
  config.host = '127.0.0.1'  # Others than this machine need a key.
  config.port = 8000
  config.name = ''  # Of the model in replies; '': the end of init_from.
  config.key_variable = ''  # Environment variable with the key of clients.

  # Sampling.
  config.sampler = main_config.play.evaluation_sampler
  config.search = show_o.search()  # Off; docs/search.md.
  config.top_k = 0  # Of replies with a temperature; 0: all tokens.

  # Batches: requests that wait are computed together.
  config.batches = (1, 4, 8, 16, 32)  # Sizes; smaller batches are padded.
  config.warm_up = True  # Compile these at the start, small ones first.

  # Limits.
  config.most_waiting = 256  # Requests; more get status 429.
  config.most_body = 64 * 2**20  # Bytes of a request.
  config.most_image = 20 * 2**20  # Bytes of an image.
  config.most_pixels = 50_000_000  # Of an image.
  config.files = ''  # Folder for images by file://.
  config.stop_seconds = 30  # To finish what has begun.
  config.access_log = False  # A line for each request.
  return config
