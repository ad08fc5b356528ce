r"""The embedded world's unified base model; variants train on your own data.

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

Variants (--config=configs/pretrain.py:<variant>) train on data sets of images
with captions or conversations (docs/finetuning.md):

  shapes                 the embedded world, as above
  show_o_256, show_o_512 Show-o from converted weights, or from a Phi that
                         `python -m conversions.convert phi` made a Show-o
  small_256, small_512   the same on a small random Show-o (docs/walk.md)
  pictures               a new small model whose words are those of the captions
                         (docs/real_pictures.md)

  python main.py --config=configs/pretrain.py:show_o_256 \
    '--config.t2i[0].annotations=captions.jsonl'
"""

import ml_collections

from configs import pair_dpo

VARIANTS = (
  'shapes',
  'show_o_256',
  'show_o_512',
  'small_256',
  'small_512',
  'pictures',
)


def get_config(variant='shapes'):
  """Returns settings for `jobs.pretrain`, or for `jobs.fine_tune`."""
  if variant not in VARIANTS:
    raise ValueError(
      f'variant must be one of {", ".join(VARIANTS)}, got {variant!r}'
    )
  if variant == 'shapes':
    return shapes()
  config = own_data(variant if variant != 'pictures' else 'shapes')
  if variant == 'pictures':
    use_new_model(config)
  return config


def shapes():
  """Returns settings for the embedded world; all are ours."""
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


def image_set():
  """Returns settings of a data set of images; docs/data.md has all forms."""
  return {
    'annotations': '',
    'images': '',  # '': the folder of the annotations.
    'on_error': 'raise',
    'form': 'auto',
    'fields': '',
    'caption_choice': 'first',
    'weight': 1.0,  # Share of the rows, relative to other sets of the task.
  }


def own_data(variant):
  """Returns settings to train a variant of the main job on data sets."""
  main_config = pair_dpo.get_config(variant)
  config = ml_collections.ConfigDict(pair_dpo.model_settings(main_config))
  config.job = 'fine_tune'
  config.new_model = None

  # Data. Further sets: copy this file, or give the list as one flag.
  config.t2i = (image_set(),)
  config.mmu = ()  # Captions, or LLaVA's conversations; (): those of t2i.
  config.lm = ()  # Texts; (): the captions of t2i.
  config.rows = {
    'drop_condition': 0.1,  # Share of t2i rows with the empty text (Show-o).
    'caption_prompt': main_config.play.caption_prompt,
    'turn_form': 'llava',  # Show-o; 'inference': as all jobs ask.
    'crop': 'center',  # Or 'random'.
    'flip': 0.0,  # Share of mirrored images; 'left' in a caption turns wrong.
  }
  config.threads = 8  # That read images, per task.

  # Measured every `measure_every` steps, and not learned: a share of each data
  # set, or data sets of your own for t2i, mmu and lm.
  config.held_out = {'share': 0.0, 't2i': (), 'mmu': (), 'lm': (), 'batches': 4}
  config.previews = {
    'prompts': (),  # Texts that are drawn as often.
    'images_per_prompt': 2,
    'sampler': main_config.play.evaluation_sampler.to_dict(),
  }
  config.measure_every = 500

  # Learning. Official scripts: AdamW with b2 0.999; the rest is ours.
  config.weights = {'t2i': 1.0, 'mmu': 1.0, 'lm': 0.1}
  config.mask_schedule = main_config.play.mask_schedule
  config.optim = main_config.play.optim.to_dict()
  config.optim.update(
    {'lr': 5e-5, 'steps': 10_000, 'warmup': 0.05, 'final': 0.05}
  )
  config.batches = {'t2i': 64, 'mmu': 64, 'lm': 64}  # Rows a step.
  config.label_rows = 256  # Labels of a row whose logits are kept at once.
  config.seed = 0

  # Logging, in steps.
  config.log_every = 20
  config.save_every = 500
  config.profile_steps = (0, 0)
  if variant.startswith('small_'):
    config.optim.update({'lr': 1e-3, 'steps': 3, 'warmup': 0.0})
    config.batches = {'t2i': 4, 'mmu': 4, 'lm': 4}
    config.t2i[0]['annotations'] = 'small/data/inputs.jsonl'
    config.t2i[0]['images'] = 'small/data/images'
    config.log_every = 1
  return config


def use_new_model(config):
  """Changes the config to a new model of the embedded world's sizes."""
  config.init_from = ''
  config.tokenizer = 'assets:shapes'
  config.new_model = {
    'decoder': shapes().decoder.to_dict(),
    # Tokens of a row; an image of 128 px has 64 codes.
    'lengths': {
      'max_text': 16,
      'mmu': 100,
      'prompt': 88,
      'lm': 16,
      'reply': 16,
    },
    'pixels': 128,
  }
  config.rows.turn_form = 'inference'
  config.optim.update({'lr': 2e-3, 'steps': 600, 'b2': 0.98})
  config.batches = {'t2i': 32, 'mmu': 16, 'lm': 8}
  config.threads = 2
