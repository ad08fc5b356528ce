"""Speed: sampling and training, beside the same work done naively.

  python main.py --config=configs/benchmark.py

times four layers with Show-o's width on a CPU. Naive text sampling takes
hours, so a few calls are timed and scaled: `naive_calls`, with lengths spread
over a row, and `naive_steps` for an image. PyTorch is timed if it is
installed. docs/performance.md has the tables for two shared CPU cores (commit
1ac07a3), e.g. seconds and how many times as long naive JAX takes:

  images of 512 px, 2 steps      19.01  1.44 x
  10 captions x 100 tokens       61.34  114.37 x
  VQA, 16 images x 8 questions   94.79  43.33 x

Variants (--config=configs/benchmark.py:<variant>):

  cpu   as above
  step  the training step alone, on a CPU: 35.68 s, 1.82 x (commit 12225dd)
  host  host time in a training step, with a model so small that the device has
        next to nothing to do: 0.8 to 1.0 ms (2026-11-26)
  h200  the whole model, for one large GPU; not measured yet
  serve requests a second of the server (configs/serve.py), by one client and by
        32, with the embedded model; docs/serving.md has the table
"""

import ml_collections

from configs import serve
from configs import show_o


def get_config(variant='cpu'):
  """Returns settings for `hermesflow_jax.jobs.benchmark`."""
  if variant == 'serve':
    return served()
  variants = {'cpu': cpu, 'step': step, 'host': host, 'h200': h200}
  if variant not in variants:
    raise ValueError(
      f'variant must be one of {", ".join(variants)} or serve, got {variant!r}'
    )
  sizes = show_o.sizes(512)
  config = ml_collections.ConfigDict()
  config.job = 'benchmark'
  config.seed = 0

  # Model: `precisions` take the place of the decoder's dtype.
  config.vocab = sizes['vocab']
  config.tokenizer = sizes['tokenizer']
  config.decoder = sizes['decoder'] | {'remat': 'none'}
  del config.decoder.dtype

  # Measurement.
  config.torch = True  # Time PyTorch, too.
  config.repeats = 2  # Calls of which the median is taken.
  config.precisions = ('float32',)

  variants[variant](config)
  return config


def served():
  """Returns settings for `hermesflow_jax.jobs.serve_benchmark`."""
  config = serve.get_config()
  for name in serve.ONLY_SERVED:
    del config[name]
  config.job = 'serve_benchmark'
  config.prompt = 'two red rings'
  config.question = 'how many rings are there ?'
  config.images = 8  # That the questions are about.
  config.requests = 96  # In a measurement.
  config.clients = 32
  config.repeats = 3  # Measurements of which the median is taken.
  return config


def cpu(config):
  """Sets the samplers and the training step, with four layers."""
  config.decoder.layers = 4
  config.workloads = (
    images('images of 256 px, 2 steps', 1, 16, 2, 5.0),
    images('images of 512 px, 2 steps', 1, 32, 2, 5.0),
    replies('10 captions x 100 tokens', 1, 10, True, 100),
    replies('VQA, 16 images x 8 questions', 16, 8, False, 5),
    choices('the same by likelihood, 4 choices', 16, 8, 4, 3),
    steps('a step of Pair-DPO, 256 px, 2 records', 2, 16),
    pixels('2 images of 256 px to codes', 2, False, 256),
    pixels('codes to 2 images of 256 px', 2, True, 256),
  )


def step(config):
  """Sets the training step alone, with four layers."""
  config.decoder.layers = 4
  config.tokenizer = None
  config.workloads = (steps('a step of Pair-DPO, 256 px, 2 records', 2, 16),)


def host(config):
  """Sets a tiny model's training step."""
  small = steps('a small step of Pair-DPO, 2 records', 2, 4)
  small['steps'].update({'text': 16, 'prompt': 8, 'reply': 8})
  config.vocab = {'text_size': 300, 'codebook_size': 64, 'eos': 299}
  config.decoder.update({'width': 32, 'heads': 2, 'mlp': 32})
  config.tokenizer = None
  config.workloads = (small,)
  config.repeats = 50
  config.torch = False


def h200(config):
  """Sets all workloads, with the whole model."""
  config.precisions = ('bfloat16', 'float32')
  config.workloads = (
    images('16 images of 256 px, 18 steps', 16, 16, 18, 1.75),
    images('16 images of 512 px, 50 steps', 16, 32, 50, 5.0),
    replies('10 captions x 100 tokens', 1, 10, True, 100),
    replies('the same of 16 images', 16, 10, True, 100),
    replies('VQA, 16 images x 8 questions', 16, 8, False, 5),
    choices('the same by likelihood, 4 choices', 16, 8, 4, 3),
    steps('a step of Pair-DPO, 256 px, 8 records', 8, 16),
    steps('a step of Pair-DPO, 512 px, 4 records', 4, 32),
    pixels('16 images of 512 px to codes', 16, False),
    pixels('codes to 16 images of 512 px', 16, True),
  )
  config.repeats = 3


def images(name, count, grid, sampler_steps, guidance):
  """Returns a workload that samples images with grid x grid codes."""
  return {
    'name': name,
    'images': {
      'count': count,
      'grid': grid,
      'steps': sampler_steps,
      'guidance': guidance,
      'text': 128,  # Tokens of a caption.
      'naive_steps': 2,
    },
  }


def replies(name, count, per_image, shared, tokens):
  """Returns a workload that samples replies about 512 px images."""
  return {
    'name': name,
    'replies': {
      'images': count,
      'each': per_image,
      'shared': shared,  # True: all replies to the same prompt.
      'grid': 32,
      'prompt': 16,  # Tokens.
      'tokens': tokens,
      'naive_calls': 3,
    },
  }


def choices(name, count, per_image, options, tokens):
  """Returns a workload that scores choices for questions about images."""
  return {
    'name': name,
    'choices': {
      'images': count,
      'each': per_image,
      'choices': options,
      'grid': 32,
      'prompt': 16,  # Tokens.
      'tokens': tokens,
    },
  }


def steps(name, records, grid):
  """Returns a workload that takes a Pair-DPO training step."""
  return {
    'name': name,
    'steps': {
      'pairs': records,
      'grid': grid,
      'text': 128,  # Tokens, as are prompt and reply.
      'prompt': 16,
      'reply': 100,
      'label_rows': 512,
    },
  }


def pixels(name, count, decode, size=512):
  """Returns a workload for the image tokenizer, size in pixels a side."""
  return {
    'name': name,
    'pixels': {'count': count, 'size': size, 'decode': decode},
  }
