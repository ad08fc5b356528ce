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
  h200  the whole model, for one large GPU, in 8 minutes; a failure costs only
        its own row, and the same command continues. Not measured yet. On any
        machine --config.only_lower=True lowers its programs for CUDA
  official  images, captions and the training step beside a checkout of the
        official code (--config.official, --config.official_python), in turns:
        2.13, 203 and 1.60 x as fast on one core (commit 766d919)
  serve requests a second of the server (configs/serve.py), by one client and by
        32, with the embedded model; docs/serving.md has the table
  growth  time and memory of the host in a round, against inputs (500 to
        50,000), images, captions, codes and processes, with the fitted law;
        in 25 minutes of a slow core. docs/scaling.md has the tables
"""

import ml_collections

from configs import gpu_measurements
from configs import serve
from configs import show_o
from configs import workloads


def get_config(variant='cpu'):
  """Returns settings for `hermesflow_jax.jobs.benchmark`."""
  others = {'h200': gpu_measurements.h200, 'serve': served, 'growth': growth}
  if variant in others:
    return others[variant]()
  variants = {'cpu': cpu, 'step': step, 'host': host, 'official': official}
  if variant not in variants:
    raise ValueError(
      f'variant must be one of {", ".join(variants)}, h200, serve or growth, '
      f'got {variant!r}'
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


def growth():
  """Returns settings for `hermesflow_jax.jobs.growth_benchmark`."""
  config = ml_collections.ConfigDict()
  config.job = 'growth_benchmark'
  # Each variable is varied alone. A small round, so that 50,000 inputs take
  # minutes: 64 codes an image.
  config.base = {
    'inputs': 500,
    'images': 2,
    'captions': 2,
    'grid': 8,
    'questions': 2,
  }
  config.inputs = (500, 5_000, 20_000, 50_000)
  config.images = (2, 4, 16)
  config.captions = (2, 5, 10)
  config.grids = (8, 16, 32)
  config.processes = (1, 2, 4)
  config.most_traced = 20_000  # The memory of larger rounds is not traced.
  return config


def cpu(config):
  """Sets the samplers and the training step, with four layers."""
  config.decoder.layers = 4
  config.workloads = (
    workloads.images('images of 256 px, 2 steps', 1, 16, 2, 5.0),
    workloads.images('images of 512 px, 2 steps', 1, 32, 2, 5.0),
    workloads.replies('10 captions x 100 tokens', 1, 10, True, 100),
    workloads.replies('VQA, 16 images x 8 questions', 16, 8, False, 5),
    workloads.choices('the same by likelihood, 4 choices', 16, 8, 4, 3),
    workloads.steps('a step of Pair-DPO, 256 px, 2 records', 2, 16),
    workloads.pixels('2 images of 256 px to codes', 2, False, 256),
    workloads.pixels('codes to 2 images of 256 px', 2, True, 256),
  )


def step(config):
  """Sets the training step alone, with four layers."""
  config.decoder.layers = 4
  config.tokenizer = None
  config.workloads = (
    workloads.steps('a step of Pair-DPO, 256 px, 2 records', 2, 16),
  )


def official(config):
  """Sets a comparison with the official code, with four layers, on a CPU."""
  config.job = 'official_benchmark'
  config.official = ''  # Folder of a checkout of Gen-Verse/HermesFlow.
  config.official_python = 'python'  # Python that has its packages.
  config.turns = 2  # Of each side.
  config.repeats = 1  # Timed calls in a turn, of which the median is taken.
  config.limit = 3_600.0  # Most seconds of a turn.
  config.decoder.layers = 4
  config.workloads = (
    workloads.images('images of 256 px, 2 steps', 1, 16, 2, 5.0),
    workloads.replies('10 captions x 100 tokens', 1, 10, True, 100),
    workloads.steps('a step of Pair-DPO, 256 px, 1 record', 1, 16),
  )
  for name in ('tokenizer', 'torch', 'precisions'):
    del config[name]


def host(config):
  """Sets a tiny model's training step."""
  small = workloads.steps('a small step of Pair-DPO, 2 records', 2, 4)
  small['steps'].update({'text': 16, 'prompt': 8, 'reply': 8})
  config.vocab = {'text_size': 300, 'codebook_size': 64, 'eos': 299}
  config.decoder.update({'width': 32, 'heads': 2, 'mlp': 32})
  config.tokenizer = None
  config.workloads = (small,)
  config.repeats = 50
  config.torch = False
