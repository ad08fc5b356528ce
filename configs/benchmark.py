"""What the samplers cost, beside the same work done naively.

  python main.py --config=configs/benchmark.py

times four layers of Show-o's width on a CPU. The naive way of text takes
hours, so some of its calls are timed and scaled: `naive_calls` of each row's
lengths, `naive_steps` of an image's. PyTorch's is timed if it is installed.
"""

import ml_collections


def get_config():
  """Returns the settings of `hermesflow_jax.jobs.benchmark`."""
  return ml_collections.ConfigDict({
      'job': 'benchmark',
      'vocab': {'text_size': 50295, 'codebook_size': 8192, 'eos': 50256},
      'decoder': {
          'width': 2048, 'layers': 4, 'heads': 32, 'mlp': 8192,
          'remat': False,
      },
      'precisions': ('float32',),
      'workloads': (
          images('images of 256 px', 16),
          images('images of 512 px', 32),
          replies('10 captions x 100 tokens', 1, 10, True, 100),
          replies('VQA, 16 images x 8 questions', 16, 8, False, 5),
      ),
      'repeats': 2,
      'torch': True,
      'seed': 0,
  })


def images(name, grid):
  """One image, two of its steps."""
  return {
      'name': name,
      'images': {
          'count': 1, 'grid': grid, 'steps': 2, 'guidance': 5.0, 'text': 128,
          'naive_steps': 2,
      },
      'replies': None,
  }


def replies(name, count, each, shared, tokens):
  """Replies about images of 512 px."""
  return {
      'name': name,
      'images': None,
      'replies': {
          'images': count, 'each': each, 'shared': shared, 'grid': 32,
          'prompt': 16, 'tokens': tokens, 'naive_calls': 3,
      },
  }
