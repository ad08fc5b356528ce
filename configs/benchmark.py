"""What the samplers cost, beside the same work done naively.

  python main.py --config=configs/benchmark.py

times four layers of Show-o's width on a CPU. The naive way of text takes
hours, so some of its calls are timed and scaled: `naive_calls` of each row's
lengths, `naive_steps` of an image's. PyTorch's is timed if it is installed.
The model as a whole, for one large GPU:

  python main.py --config=configs/benchmark.py:h200

The step of training alone, on a CPU:

  python main.py --config=configs/benchmark.py:step

What a step of training costs the host, with a model so small that the device
has next to nothing to do:

  python main.py --config=configs/benchmark.py:host
"""

import ml_collections

import configs.pair_dpo


def get_config(variant='cpu'):
  """Returns the settings of `hermesflow_jax.jobs.benchmark`."""
  if variant not in ('cpu', 'h200', 'step', 'host'):
    raise ValueError(f'variant {variant!r}, wanted cpu, h200, step or host')
  sizes = configs.pair_dpo.get_config('show_o_512').sizes.to_dict()
  decoder = sizes['decoder'] | {'remat': 'none'}
  del decoder['dtype']
  shared = {
    'job': 'benchmark',
    'vocab': sizes['vocab'],
    'tokenizer': sizes['tokenizer'],
    'torch': True,
    'seed': 0,
  }
  if variant == 'h200':
    return ml_collections.ConfigDict(
      shared
      | {
        'decoder': decoder,
        'precisions': ('bfloat16', 'float32'),
        'workloads': (
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
        ),
        'repeats': 3,
      }
    )
  if variant == 'host':
    small = steps('a small step of Pair-DPO, 2 records', 2, 4)
    small['steps'].update({'text': 16, 'prompt': 8, 'reply': 8})
    return ml_collections.ConfigDict(
      shared
      | {
        'vocab': {'text_size': 300, 'codebook_size': 64, 'eos': 299},
        'decoder': decoder | {'width': 32, 'heads': 2, 'mlp': 32},
        'tokenizer': None,
        'precisions': ('float32',),
        'workloads': (small,),
        'repeats': 50,
        'torch': False,
      }
    )
  learned = steps('a step of Pair-DPO, 256 px, 2 records', 2, 16)
  shared |= {
    'decoder': decoder | {'layers': 4},
    'precisions': ('float32',),
    'repeats': 2,
  }
  if variant == 'step':
    return ml_collections.ConfigDict(
      shared | {'tokenizer': None, 'workloads': (learned,)}
    )
  return ml_collections.ConfigDict(
    shared
    | {
      'workloads': (
        images('images of 256 px, 2 steps', 1, 16, 2, 5.0),
        images('images of 512 px, 2 steps', 1, 32, 2, 5.0),
        replies('10 captions x 100 tokens', 1, 10, True, 100),
        replies('VQA, 16 images x 8 questions', 16, 8, False, 5),
        choices('the same by likelihood, 4 choices', 16, 8, 4, 3),
        learned,
        pixels('2 images of 256 px to codes', 2, False, 256),
        pixels('codes to 2 images of 256 px', 2, True, 256),
      )
    }
  )


def images(name, count, grid, steps, guidance):
  """Images, two of whose steps the naive way takes."""
  return {
    'name': name,
    'images': {
      'count': count,
      'grid': grid,
      'steps': steps,
      'guidance': guidance,
      'text': 128,
      'naive_steps': 2,
    },
  }


def replies(name, count, each, shared, tokens):
  """Replies about images of 512 px."""
  return {
    'name': name,
    'replies': {
      'images': count,
      'each': each,
      'shared': shared,
      'grid': 32,
      'prompt': 16,
      'tokens': tokens,
      'naive_calls': 3,
    },
  }


def choices(name, count, each, many, tokens):
  """Questions about images of 512 px, with choices of some tokens."""
  return {
    'name': name,
    'choices': {
      'images': count,
      'each': each,
      'choices': many,
      'grid': 32,
      'prompt': 16,
      'tokens': tokens,
    },
  }


def steps(name, pairs, grid):
  """A step of Pair-DPO."""
  return {
    'name': name,
    'steps': {
      'pairs': pairs,
      'grid': grid,
      'text': 128,
      'prompt': 16,
      'reply': 100,
      'label_rows': 512,
    },
  }


def pixels(name, count, decode, size=512):
  """The image tokenizer."""
  return {
    'name': name,
    'pixels': {'count': count, 'size': size, 'decode': decode},
  }
