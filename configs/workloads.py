"""Workloads of the benchmarks.

Other configs import this file; it starts no job itself.
"""


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
      'replies_per_image': per_image,
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
      'questions_per_image': per_image,
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
