"""Measurements on a GPU with Show-o's sizes.

Other configs import this file; it starts no job itself.
"""

import ml_collections

from configs import show_o
from configs import workloads


def h200():
  """Returns settings for `hermesflow_jax.jobs.gpu_benchmark`."""
  sizes = show_o.sizes(512)
  config = ml_collections.ConfigDict()
  config.job = 'gpu_benchmark'
  config.seed = 0
  config.repeats = 3  # Calls of which the median is taken.
  config.minutes = 8.0  # For all measurements of a start.
  config.limit = 150.0  # Most seconds of a measurement.
  config.only_lower = False  # True: lowers all programs for CUDA, runs none,
  config.only_compile = False  # and compiles them here, for their memory.

  # Model: `form` has the decoder's dtype, attention and remat.
  config.vocab = sizes['vocab']
  config.tokenizer = sizes['tokenizer']
  config.decoder = sizes['decoder']
  for name in ('dtype', 'attention', 'remat'):
    del config.decoder[name]

  draw_256 = workloads.images('draw', 16, 16, 18, 1.75)
  draw_512 = workloads.images('draw', 16, 32, 50, 5.0)
  caption = workloads.replies('caption', 1, 10, True, 100)
  captions = workloads.replies('caption', 16, 10, True, 100)
  ask = workloads.replies('ask', 16, 8, False, 5)
  choose = workloads.choices('choose', 16, 8, 4, 3)
  learn_256, learn_512 = (
    workloads.steps('learn', 16, 16),
    workloads.steps('learn', 16, 32),
  )
  attend = {
    'name': 'attend',
    'attention': {'rows': 32, 'queries': 1026, 'text': 129},
  }
  cudnn, apart = form(attention='cudnn'), form(fused=False)
  precise, remat = form('float32'), form(remat='full')
  precise_remat = form('float32', remat='full')
  config.measurements = (
    # Rows with goals.
    measure('images of 256 px', draw_256, goal=2.3),
    measure('images of 512 px', draw_512, goal=8.6),
    measure('10 captions of an image', caption, goal=0.13),
    measure('10 captions of 16 images each', captions, goal=0.416),
    measure('8 questions about 16 images each', ask, goal=0.18),
    measure('the same with 4 choices', choose),
    measure('step of 16 pairs, 256 px', learn_256, goal=0.361, profile=True),
    measure('step of 16 pairs, 512 px', learn_512, remat, goal=1.283),
    measure(
      '16 images of 512 px to codes', workloads.pixels('', 16, False), goal=0.08
    ),
    measure(
      'codes to 16 images of 512 px', workloads.pixels('', 16, True), goal=0.07
    ),
    # Attention by cuDNN, beside XLA.
    measure('attention, XLA', attend),
    measure('attention, cuDNN', attend, cudnn),
    measure('images of 512 px, cuDNN', draw_512, cudnn),
    measure('step, 256 px, cuDNN', learn_256, cudnn),
    # Products that are not fused.
    measure('10 captions, not fused', caption, apart),
    measure('4 choices, not fused', choose, apart),
    # float32, as TF32 on a GPU.
    measure('4 choices, float32', choose, precise),
    measure('step, 256 px, float32', learn_256, precise_remat),
    measure('images of 256 px, float32', draw_256, precise),
    # The embedded world's main job, shortened.
    {
      'name': 'main job of the embedded world',
      'group': 'main job',
      'command': (
        'pair_dpo',
        '--config.play.rounds=1',
        '--config.inputs=300',
        '--config.held_out=300',
        '--config.unseen=0',
      ),
    },
    # The same work done naively.
    naive('images of 256 px, naive', draw_256, 'jax'),
    naive('10 captions, naive', caption, 'jax'),
    naive('4 choices, naive', choose, 'jax'),
    naive('step, 256 px, naive', learn_256, 'jax', remat),
    naive('10 captions, PyTorch', caption, 'torch'),
    naive('4 choices, PyTorch', choose, 'torch'),
    naive('step, 256 px, PyTorch', learn_256, 'torch'),
  )
  config.comparisons = (
    compare('attention', 'attention, XLA', 'attention, cuDNN'),
    compare('attention', 'images of 512 px', 'images of 512 px, cuDNN'),
    compare('attention', 'step of 16 pairs, 256 px', 'step, 256 px, cuDNN'),
    compare(
      'fused products', '10 captions, not fused', '10 captions of an image'
    ),
    compare(
      'fused products', '4 choices, not fused', 'the same with 4 choices'
    ),
    compare('precision', '4 choices, float32', 'the same with 4 choices'),
    compare('precision', 'step, 256 px, float32', 'step of 16 pairs, 256 px'),
    compare('precision', 'images of 256 px, float32', 'images of 256 px'),
  )
  return config


def form(precision='bfloat16', attention='xla', fused=True, remat='none'):
  """Returns how the model is computed in a measurement."""
  return {
    'precision': precision,
    'attention': attention,
    'fused': fused,
    'remat': remat,
  }


def measure(name, workload, model_form=None, goal=0.0, profile=False):
  """Returns a measurement of a workload as it is implemented here."""
  return {
    'name': name,
    'group': 'library',
    'workload': workload | {'name': name},
    'form': model_form or form(),
    'goal': goal,  # Seconds.
    'profile': profile,
  }


def naive(name, workload, library, model_form=None):
  """Returns a measurement of a workload's naive form in 'jax' or 'torch'."""
  return {
    'name': name,
    'group': library,
    'workload': workload | {'name': name},
    'form': model_form or form(),
    'baseline': library,
  }


def compare(topic, first, second):
  """Returns a pair of measurements that the table shows side by side."""
  return {'name': f'{topic}: {second}', 'first': first, 'second': second}
