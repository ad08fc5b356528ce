r"""The embedded world's image tokenizer; also on images of your own.

  python main.py --config=configs/tokenizer.py

trains MAGVIT-v2 (arXiv 2310.05737) at 16x reduction on 64 px scenes in 8
minutes on two CPU cores (commit 84423c3), exports it to runs/shapes and
measures it on three held-out sets. Expected: the judge sees the same objects
at the same places in 500 of 500 reconstructions of each set; losses at the end
are

  reconstruction  commitment  entropy
  0.0035          0.144       -0.495

Images of your own, and an existing tokenizer as the start (docs/finetuning.md):

  python main.py --config=configs/tokenizer.py --config.images=pictures \
    --config.pixels=128 --config.init_from=assets:shapes \
    --config.export=runs/pictures --workdir=runs/picture_tokenizer
"""

import ml_collections


def get_config():
  """Returns settings for `hermesflow_jax.jobs.tokenizer`; all are ours."""
  config = ml_collections.ConfigDict()
  config.job = 'tokenizer'
  config.seed = 0
  config.mesh = {'data': -1, 'model': -1}  # Devices; -1: as many as fit.

  # Data.
  config.world = {'seed': 0, 'jitter': 0}
  config.scenes = 16_000
  config.images = ()  # Own images: files, folders, patterns; (): scenes.
  config.files = None  # Or a data set (docs/data.md).
  config.on_error = 'raise'  # 'skip' leaves out images that cannot be read.
  config.pixels = 64  # Side of own images.
  config.threads = 2  # That read them.

  config.init_from = ''  # A tokenizer to train further; '': a new one.
  # Model: one level of 1x1 kernels on 16 px patches, so a code sees its own
  # patch alone. After the same minutes 3x3 kernels with group norms still had
  # three objects in four wrong.
  config.sizes = {
    'ch': 256,
    'encoder_ch_mult': (1,),
    'decoder_ch_mult': (1,),
    'encoder_num_res_blocks': (1,),
    'decoder_num_res_blocks': (1,),
    'z_channels': 12,  # Bits of a code; with 10, up to 13 of 500 were wrong.
    'patch': 16,  # Pixels a side.
    'mid_attention': False,
    'num_groups': 0,
    'kernel': 1,
  }

  # Learning.
  config.weights = {
    'entropy': 0.002,  # Official: 0.1.
    'commitment': 0.03,  # Official: 0.1 x (1 + 0.25).
    'foreground': 2.0,
  }
  config.quantizer_warmup = 500  # Steps until every image is quantized.
  config.optim = {
    'lr': 1.5e-3,
    'steps': 9_000,
    'warmup': 0.02,  # Share of the steps.
    'final': 0.02,  # Share of the peak rate.
    'b2': 0.99,
    'weight_decay': 0.0,
  }

  # Batch in images; logging in steps.
  config.schedule = {'batch': 16, 'log_every': 200, 'save_every': 2_000}

  # Evaluation.
  config.evaluated = 500  # Scenes of each held-out set.
  config.export = 'runs/shapes'
  return config
