"""The main job: HermesFlow's self-play (arXiv 2502.12148), round after round.

  python main.py --config=configs/pair_dpo.py

plays three rounds on the embedded world from the shipped base model. Any job
starts from the newest round with --config.init_from=runs/pair_dpo. The paper's
settings, on Show-o's weights:

  python main.py --config=configs/pair_dpo.py:show_o_256
  python main.py --config=configs/pair_dpo.py:show_o_512

These read image-caption inputs with questions from data/inputs.jsonl, and
data/held_out.jsonl for evaluation; `hermesflow_jax.data.record_files` says how.
`decoder_7b` has a decoder of 6.9 billion parameters, to see what it would want
of a TPU slice (--compile_for). `small_256` and `small_512` are the paper's
settings on a small random Show-o, to see every step without any weights
(docs/walk.md).
"""

import ml_collections

# Temperature and top-k of the ten captions of an image: the official script.
LADDER = [{'temperature': 1.0, 'top_k': 1}] + [
  {'temperature': temperature, 'top_k': top_k}
  for top_k in (2, 3, 4)
  for temperature in (0.1, 0.7, 2.0)
]


def sampler(steps, guidance, temperature=1.0):
  """Returns a MaskGIT sampler."""
  return {
    'steps': steps,
    'guidance': guidance,
    'temperature': temperature,
    'schedule': 'cosine',
    'compounding': False,
    'code_temperature': 1.0,
  }


def get_config(variant='shapes'):
  """Returns the settings of `hermesflow_jax.jobs.pair_dpo`."""
  config = ml_collections.ConfigDict(
    {
      'job': 'pair_dpo',
      'mesh': {'data': -1, 'model': -1},
      'init_from': 'assets:shapes',
      'tokenizer': '',
      'text': '',
      'missing': '',
      'sizes': None,
      'chunk': 128,
      'adapters': '',
      'world': {'seed': 0, 'jitter': 0},
      'files': None,
      'inputs': 900,
      'fresh_inputs': True,
      'held_out': 1_000,
      'held_out_split': 'eval',
      'unseen': 500,
      'gallery': 12,
      'official': False,
      'play': {
        'rounds': 3,
        'images': 4,
        'captions': LADDER,
        'free_answers': False,
        # The embedded model knows no other words of a prompt.
        'free_prompt': '{question}',
        'choice_rule': 'constrained',
        'caption_prompt': 'Give a caption for this image.',
        'shard': 300,
        'curation_sampler': sampler(16, 0.5),
        'evaluation_sampler': sampler(16, 0.5),
        'rules': {'least_win': 0.6, 'least_margin': 0.0, 'both': True},
        'objective': {
          # An image has 16 codes where the paper's has 1,024, so equal
          # shifts of a code make margins 64 times smaller: beta is ten
          # times the paper's 0.2.
          'method': 'pair_dpo',
          'smoothing': 0.0,
          'beta': 2.0,
          'und_weight': 1.0,
          'gen_weight': 1.0,
          'und_sft_weight': 0.5,
          'gen_sft_weight': 2.0,
          'masks': 4,
          'drop_condition': 0.0,
          'fixed_masks': False,
        },
        'compat': {
          'score_images_as_text': False,
          'batch_sum': False,
          'separate_drops': False,
          'other_prompt': False,
        },
        'mask_schedule': 'cosine',
        'optim': {
          'lr': 1e-4,
          'steps': 100,
          'warmup': 0.05,
          'final': 0.0,
          'b1': 0.9,
          'b2': 0.999,
          'eps': 1e-8,
          'weight_decay': 0.01,
          'clip': 1.0,
          'accumulate': 1,
        },
        'lora': {
          'rank': 0,
          'alpha': 16.0,
          'targets': ('q_proj', 'k_proj', 'v_proj', 'dense'),
        },
        'epochs': 4.0,
        'batch': 16,
        'label_rows': 512,
        'log_every': 10,
        'save_every': 50,
        'sample_every': 0,
        'profile_steps': (0, 0),
        'reference': 'round',
        'seed': 0,
      },
    }
  )
  if variant == 'shapes':
    return config
  if variant in ('show_o_256', 'show_o_512'):
    return show_o(config, int(variant.removeprefix('show_o_')))
  if variant == 'decoder_7b':
    return decoder_7b(config)
  if variant in ('small_256', 'small_512'):
    return small(config, int(variant.removeprefix('small_')))
  raise ValueError(
    f'variant {variant!r}, wanted shapes, show_o_256, show_o_512, '
    'decoder_7b, small_256 or small_512'
  )


def decoder_7b(config):
  """Changes the settings to a larger decoder that has no weights yet.

  For --compile_for, which wants none.
  """
  config = show_o(config, 512)
  config.init_from = 'checkpoints/decoder_7b'
  config.missing = 'There are no weights of this size.'
  config.sizes.decoder.update({'width': 4096, 'layers': 32, 'mlp': 16384})
  return config


def small(config, pixels):
  """Changes the settings to a small random Show-o, for a walk of minutes.

  Vocabulary, row lengths, file formats and precision are Show-o's; width,
  depth, steps and the number of inputs are small.
  """
  config = show_o(config, pixels)
  name = f'show_o_{pixels}'
  codes = config.sizes.grid[0] * config.sizes.grid[1]
  config.init_from = f'small/checkpoints/{name}'
  config.tokenizer = 'small/checkpoints/magvitv2'
  config.text = 'small/phi-1_5'
  config.missing = (
    'Make the small case first: '
    f'python tests/small_show_o.py small --codes {codes} && '
    'python -m conversions.convert showo small/showo '
    f'small/checkpoints/{name} && python -m conversions.convert magvitv2 '
    'small/magvitv2 small/checkpoints/magvitv2 (docs/walk.md)'
  )
  config.sizes.decoder.update(
    {'width': 32, 'layers': 2, 'heads': 2, 'mlp': 128, 'remat': 'none'}
  )
  config.sizes.tokenizer.update(
    {
      'ch': 32,
      'encoder_ch_mult': [1] * 5,
      'decoder_ch_mult': [1] * 5,
      'encoder_num_res_blocks': [1] * 5,
      'decoder_num_res_blocks': [1] * 5,
    }
  )
  config.sizes.lengths.reply = 16
  for source in config.files.values():
    source.annotations = f'small/{source.annotations}'
    source.images = f'small/{source.images}'
  config.inputs, config.held_out, config.gallery = 10, 6, 6
  play = config.play
  play.rounds, play.images = 2, 3
  play.curation_sampler.steps = play.evaluation_sampler.steps = 4
  # Random answers are seldom right three times in five.
  play.rules.least_win = 0.0
  # Large enough to change the replies of random weights in a few steps.
  play.optim.update({'lr': 1e-3, 'steps': 3})
  play.batch = 4
  play.log_every, play.save_every, play.sample_every = 1, 0, 3
  return config


def start_of(config):
  """Returns what every job with a model has in common, as a dict."""
  names = (
    'mesh',
    'init_from',
    'tokenizer',
    'text',
    'missing',
    'sizes',
    'chunk',
    'adapters',
  )
  values = config.to_dict()
  return {name: values[name] for name in names}


def show_o(config, pixels):
  """Changes the settings to the paper's (section 4.1), at one resolution."""
  config = ml_collections.ConfigDict(config.to_dict())
  side = pixels // 16
  name = f'show_o_{pixels}'
  config.init_from = f'checkpoints/{name}'
  config.tokenizer = 'checkpoints/magvitv2'
  config.text = 'checkpoints/phi-1_5'
  config.missing = (
    'Convert Show-o first: python -m conversions.convert showo '
    f'showlab/show-o{"-512x512" if pixels == 512 else ""} '
    f'checkpoints/{name} && python -m conversions.convert magvitv2 '
    'showlab/magvitv2 checkpoints/magvitv2, and put the tokenizer files of '
    'microsoft/phi-1_5 into checkpoints/phi-1_5 (docs/conversion.md)'
  )
  config.sizes = {
    'vocab': {'text_size': 50295, 'codebook_size': 8192, 'eos': 50256},
    'decoder': {
      'width': 2048,
      'layers': 24,
      'heads': 32,
      'mlp': 8192,
      'remat': 'full',
      'dtype': 'bfloat16',
      'attention': 'auto',
    },
    'tokenizer': {
      'ch': 128,
      # Tuples: a flag can replace these, but no lists.
      'encoder_ch_mult': (1, 2, 2, 4, 4),
      'decoder_ch_mult': (1, 1, 2, 2, 4),
      'encoder_num_res_blocks': (4, 3, 4, 3, 4),
      'decoder_num_res_blocks': (4, 4, 3, 4, 3),
      'z_channels': 13,
    },
    'lengths': {
      'max_text': 128,
      'mmu': side * side + 131,
      'prompt': side * side + 67,
      'lm': 128,
      'reply': 100,
    },
    'grid': (side, side),
  }
  # The attention of one image of 512 px keeps 0.6 GiB of scores at a time.
  config.chunk = 32 if pixels == 256 else 8
  config.files = {
    split: {
      'annotations': f'data/{split}.jsonl',
      'images': 'data/images',
      'questions': '',
      'on_error': 'raise',
    }
    for split in ('inputs', 'held_out')
  }
  config.inputs = 5_000
  config.fresh_inputs = False
  config.official = True
  config.unseen = 0
  play = config.play
  play.images = 16
  play.free_prompt = 'Question:{question} Choice:{choices}'
  play.shard = 50
  steps, guidance = (18, 1.75) if pixels == 256 else (50, 5.0)
  play.curation_sampler = sampler(steps, guidance)
  play.evaluation_sampler = sampler(steps, guidance)
  play.rules.both = False
  play.objective.update(
    {
      'beta': 0.2,
      'und_sft_weight': 0.0,
      'gen_sft_weight': 0.0,
      'masks': 1,
      'drop_condition': 0.1,
    }
  )
  play.epochs = 0.0
  play.optim.lr = 2e-5
  play.optim.steps = 3_000
  play.batch = 32
  # A third of an image's codes are shown, so some chunks have no label.
  play.label_rows = 256
  play.save_every = play.sample_every = 250
  return config
