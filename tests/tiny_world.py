"""A random model of the embedded world, and a self-play of seconds."""

import pathlib

from flax import nnx
import jax
from PIL import Image

from configs import pair_dpo as config_lib
from configs import pretrain as pretrain_config
from hermesflow_jax import bundle as bundle_lib
from hermesflow_jax import curation
from hermesflow_jax import prompting
from hermesflow_jax import settings
from hermesflow_jax import vocab as vocab_lib
from hermesflow_jax.data import files as files_lib
from hermesflow_jax.data import questions
from hermesflow_jax.data import shapes
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs import pretrain
from hermesflow_jax.models import magvit
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo

GRID = (4, 4)


def bundle(path: pathlib.Path, seed: int = 0) -> pathlib.Path:
  """Writes a random model of the world into `path`; returns `path`."""
  tokenizer = magvit.Magvit(
    magvit.MagvitConfig(
      ch=4,
      encoder_ch_mult=(1,),
      decoder_ch_mult=(1,),
      encoder_num_res_blocks=(1,),
      decoder_num_res_blocks=(1,),
      z_channels=5,
      patch=16,
      mid_attention=False,
      num_groups=0,
      kernel=1,
    ),
    nnx.Rngs(seed),
  )
  text = pretrain.world_text()
  vocab = vocab_lib.Vocab(text.size, tokenizer.config.codebook_size, text.eos)
  decoder = phi.PhiConfig(width=16, layers=1, heads=2, mlp=16, remat='none')
  sizes = showo.ShowOConfig(vocab, decoder, GRID[0] * GRID[1])
  lengths = prompting.Lengths(**pretrain_config.get_config().lengths.to_dict())

  @jax.jit
  def make(key):
    model = showo.ShowO(sizes, rngs=nnx.Rngs(key))
    # What it says then depends on what it sees.
    model.decoder.layers.v_proj.kernel[...] *= 10.0
    return model

  model = make(jax.random.key(seed))
  bundle_lib.save_tokenizer(str(path), tokenizer)
  bundle_lib.save_model(str(path), model, text, lengths, GRID)
  return path


def self_play(base: pathlib.Path) -> pair_dpo.Settings:
  """Returns settings of two rounds of two steps from the model at `base`."""
  config = config_lib.get_config()
  del config.job
  config.update(
    {
      'init_from': str(base),
      'inputs': 6,
      'held_out': 4,
      'unseen': 3,
      'gallery': 2,
    }
  )
  config.play.update(
    {
      'rounds': 2,
      'images': 3,
      'captions': config_lib.LADDER[-2:],
      'curation_sampler': config_lib.sampler(2, 1.0),
      'evaluation_sampler': config_lib.sampler(2, 1.0),
      'batch': 8,
      'log_every': 1,
    }
  )
  # Few pairs of a random model are whole.
  config.play.rules.update({'least_win': 0.0, 'both': False})
  config.play.optim.update({'lr': 1e-2, 'steps': 2})
  return settings.build(pair_dpo.Settings, config.to_dict())


def files(root: pathlib.Path, split: str, count: int) -> files_lib.Source:
  """Writes annotations and images of some scenes of the embedded world."""
  rows = []
  for number in range(count):
    scene = shapes.sample_scene(split, 0, number)
    name = f'{split}-{number}'
    # Larger than the model's images, and not square.
    picture = Image.fromarray(shapes.render(scene)).resize((160, 128))
    picture.save(root / f'{name}.png')
    rows.append(
      {
        'id': name,
        'img_path': f'{name}.png',
        'caption': scene.caption,
        'questions': questions.from_caption(name, scene.caption),
      }
    )
  path = root / f'{split}.jsonl'
  path.write_text(curation.dump(rows))
  return files_lib.Source(annotations=str(path), images=str(root))
