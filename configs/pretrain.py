"""The embedded world's unified base model.

  python main.py --config=configs/tokenizer.py
  python main.py --config=configs/pretrain.py

trains a Show-o (arXiv 2408.12528) of 1.9 M parameters on t2i, mmu and lm rows
in 42 minutes on two CPU cores (commit b827862), writes it to
runs/pretrain/model and, as a bundle, to runs/shapes, and measures it on 500
held-out scenes. Expected:

  understanding  generation     caption similarity
  0.973 ± 0.004  0.838 ± 0.013  0.782

The shipped model was trained on for 5,000 steps more; the command is in
hermesflow_jax/assets/shapes/CARD.md.
"""

import ml_collections


def get_config():
  """Returns settings for `hermesflow_jax.jobs.pretrain`; all are ours."""
  config = ml_collections.ConfigDict()
  config.job = 'pretrain'
  config.seed = 0
  config.mesh = {'data': -1, 'model': -1}  # Devices; -1: as many as fit.

  # Data.
  config.world = {'seed': 0, 'jitter': 0}
  config.scenes = 40_000

  # Model.
  config.tokenizer = 'runs/shapes'
  config.init_from = ''  # '': a new transformer.
  config.decoder = {
    'width': 128,
    'layers': 4,
    'heads': 2,
    'mlp': 512,
    'remat': 'none',
    'unroll': 4,
  }
  # Tokens of a row; an image has 16 codes.
  config.lengths = {
    'max_text': 14,
    'mmu': 46,
    'prompt': 34,
    'lm': 14,
    'reply': 14,
  }

  # Learning.
  config.mixture = {
    'drop_condition': 0.1,  # Share of t2i rows with the empty text.
    'caption_share': 0.3,  # Of mmu rows; the others are answers.
    't2i': 1.0,  # Weights of the losses.
    'mmu': 1.0,
    'lm': 0.1,
  }
  config.mask_schedule = 'cosine'  # Show-o.
  config.optim = {
    'lr': 1e-3,
    'steps': 6_000,
    'warmup': 0.03,  # Share of the steps.
    'final': 0.02,  # Share of the peak rate.
    'b2': 0.98,
    'weight_decay': 0.01,
  }
  config.stop = 0  # An earlier step to stop at; 0 for none.
  # Rows a step. Answers are learned long before images, text alone before both.
  config.batches = {'t2i': 48, 'mmu': 48, 'lm': 8}

  # Evaluation.
  config.evaluated = 500  # Scenes.
  config.sampler = {
    'steps': 16,
    'guidance': 0.5,
    'temperature': 1.0,
    'schedule': 'cosine',
  }
  config.export = 'runs/shapes'

  # Logging, in steps.
  config.log_every = 100
  config.save_every = 1_000
  return config
