"""A random model of the embedded world, and a self-play of seconds."""

import functools
import pathlib

from flax import nnx
import jax
from PIL import Image
import torch_weights

import configs.pair_dpo
import configs.pretrain
import configs.show_o
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.data import record_files
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs import pretrain
from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import settings
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary
from hermesflow_jax.shapes import caption_questions
from hermesflow_jax.shapes import drawing
from hermesflow_jax.shapes import scene_sampler

GRID = (4, 4)


def bundle(
  path: pathlib.Path, seed: int = 0, clip_width: int = 0
) -> pathlib.Path:
  """Writes a random model of the world into `path`; returns `path`."""
  tokenizer, model = _parts(seed, clip_width)
  text = pretrain.world_tokenizer()
  lengths = token_rows.Lengths(
    **configs.pretrain.get_config().lengths.to_dict()
  )
  model_bundle.save_tokenizer(str(path), tokenizer)
  model_bundle.save_model(str(path), model, text, lengths, GRID)
  return path


@functools.cache
def _parts(seed: int, clip_width: int) -> tuple[magvit.Magvit, showo.ShowO]:
  """Returns a random image tokenizer and transformer."""
  tokenizer = torch_weights.random_model(
    magvit.Magvit,
    magvit_config.MagvitConfig(
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
    seed,
  )
  text = pretrain.world_tokenizer()
  vocab = vocabulary.Vocab(text.size, tokenizer.config.codebook_size, text.eos)
  decoder = phi.PhiConfig(width=16, layers=1, heads=2, mlp=16, remat='none')
  sizes = showo.ShowOConfig(vocab, decoder, GRID[0] * GRID[1], clip_width)
  return tokenizer, _random_model(jax.random.key(seed), sizes)


@functools.partial(jax.jit, static_argnames='sizes')
def _random_model(key, sizes: showo.ShowOConfig) -> showo.ShowO:
  """Returns a Show-o whose replies depend on what it sees."""
  model = showo.ShowO(sizes, rngs=nnx.Rngs(key))
  model.decoder.layers.v_proj.kernel[...] *= 10.0
  return model


def self_play(base: pathlib.Path) -> pair_dpo.Settings:
  """Returns settings of two rounds of two steps from the model at `base`."""
  config = configs.pair_dpo.get_config('paper')
  del config.job
  config.update(
    {
      'init_from': str(base),
      'inputs': 6,
      'held_out': 4,
      'unseen': 3,
      'gallery': 2,
      # Batches of a row per device, however many rows: they share programs.
      'chunk': 1,
    }
  )
  config.play.update(
    {
      'rounds': 2,
      'images': 3,
      'captions': configs.show_o.caption_samplers()[-2:],
      # Without guidance a program has half of the forward passes.
      'curation_sampler': configs.show_o.sampler(2, 0.0),
      'evaluation_sampler': configs.show_o.sampler(2, 0.0),
      'batch': 8,
      'log_every': 1,
    }
  )
  # Few pairs of a random model are whole.
  config.play.rules.update({'least_win': 0.0, 'both': False})
  config.play.optim.update({'lr': 1e-2, 'steps': 2})
  return settings.build(pair_dpo.Settings, config.to_dict())


def files(root: pathlib.Path, split: str, count: int) -> record_files.Source:
  """Writes annotations and images of some scenes of the embedded world."""
  rows = []
  for number in range(count):
    scene = scene_sampler.sample_scene(split, 0, number)
    name = f'{split}-{number}'
    # Larger than the model's images, and not square.
    picture = Image.fromarray(drawing.render(scene)).resize((160, 128))
    picture.save(root / f'{name}.png')
    rows.append(
      {
        'id': name,
        'img_path': f'{name}.png',
        'caption': scene.caption,
        'questions': caption_questions.questions_of_caption(
          name, scene.caption
        ),
      }
    )
  path = root / f'{split}.jsonl'
  path.write_text(output_files.json_lines(rows))
  return record_files.Source(annotations=str(path), images=str(root))
