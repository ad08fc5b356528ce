"""The unified base model of the embedded world.

  python main.py --config=configs/tokenizer.py
  python main.py --config=configs/pretrain.py

trains a Show-o (arXiv 2408.12528) of 1.9 M parameters on t2i, mmu and lm
rows, writes it to runs/pretrain/model and, as a bundle, to runs/shapes, and
measures it on held-out scenes.
"""

import ml_collections

SAMPLER = {
  'steps': 16,
  'guidance': 0.5,
  'temperature': 1.0,
  'schedule': 'cosine',
}


def get_config():
  """Returns the settings of `hermesflow_jax.jobs.pretrain`."""
  return ml_collections.ConfigDict(
    {
      'job': 'pretrain',
      'seed': 0,
      'mesh': {'data': -1, 'model': -1},
      'world': {'seed': 0, 'jitter': 0},
      'scenes': 40_000,
      'tokenizer': 'runs/shapes',
      'init_from': '',
      'decoder': {
        'width': 128,
        'layers': 4,
        'heads': 2,
        'mlp': 512,
        'remat': 'none',
        'unroll': 4,
      },
      'lengths': {
        'max_text': 14,
        'mmu': 46,
        'prompt': 34,
        'lm': 14,
        'reply': 14,
      },
      'mixture': {
        'drop_condition': 0.1,
        'caption_share': 0.3,
        't2i': 1.0,
        'mmu': 1.0,
        'lm': 0.1,
      },
      'mask_schedule': 'cosine',
      'optim': {
        'lr': 1e-3,
        'steps': 6_000,
        'warmup': 0.03,
        'final': 0.02,
        'b2': 0.98,
        'weight_decay': 0.01,
      },
      'stop': 0,
      # Answers are learned long before images, text alone before both.
      'batches': {'t2i': 48, 'mmu': 48, 'lm': 8},
      'log_every': 100,
      'save_every': 1_000,
      'sampler': SAMPLER,
      'evaluated': 500,
      'export': 'runs/shapes',
    }
  )
