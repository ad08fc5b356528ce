"""Settings of tiny jobs, and tiny released models that they start from.

The models have the form of the released ones: bfloat16 weights in the official
layout, a byte-level BPE in which a word differs from the same word after a
space, and a MAGVIT-v2.
"""

import dataclasses

import tiny_world
import tokenizers
import torch_weights

import configs.curate
import configs.generate
import configs.learn
import configs.pair_dpo
import configs.pretrain
import configs.understand
from conversions import convert
from conversions.files import tensors
from conversions.tables import magvit_table
from conversions.tables import showo_table
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import model_folder
from hermesflow_jax.jobs import curate
from hermesflow_jax.jobs import generate
from hermesflow_jax.jobs import learn
from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary
from hermesflow_jax.shapes import caption_questions

MAGVIT = magvit_config.MagvitConfig(
  ch=1,
  encoder_ch_mult=(1,) * 5,
  decoder_ch_mult=(1,) * 5,
  encoder_num_res_blocks=(1,) * 5,
  decoder_num_res_blocks=(1,) * 5,
  z_channels=5,
  num_groups=1,
)
GRID = (4, 4)
LENGTHS = token_rows.Lengths(max_text=40, mmu=120, prompt=100, lm=40, reply=24)
DECODER = phi.PhiConfig(width=16, layers=2, heads=2, mlp=16, dtype='bfloat16')


def write_bpe(folder):
  """Writes a byte-level BPE of the world's words, in the form of Phi-1.5's."""
  core = tokenizers.Tokenizer(tokenizers.models.BPE())
  core.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
    add_prefix_space=False
  )
  core.decoder = tokenizers.decoders.ByteLevel()
  lines = [
    ' '.join(caption_questions.WORDS),
    text_tokenizer.CAPTION_PROMPT,
    text_tokenizer.user_turn('what color is it ?'),
  ]
  core.train_from_iterator(
    lines * 4,
    tokenizers.trainers.BpeTrainer(
      vocab_size=400,
      special_tokens=[text_tokenizer.EOS],
      show_progress=False,
      initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    ),
  )
  folder.mkdir()
  core.save(str(folder / 'tokenizer.json'))
  return text_tokenizer.load(str(folder / 'tokenizer.json'))


def sizes_with(text: text_tokenizer.TextTokenizer) -> model_folder.Sizes:
  """Returns the sizes of the models, with a text tokenizer."""
  return model_folder.Sizes(
    vocabulary.Vocab(text.size, MAGVIT.codebook_size, text.eos),
    DECODER,
    MAGVIT,
    LENGTHS,
    GRID,
  )


def write_base(root, clip_width: int = 0):
  """Writes `model`, `images` and `text`; returns the sizes.

  Args:
    root: folder.
    clip_width: channels of the CLIP features that the model reads; 0: codes.
  """
  sizes = sizes_with(write_bpe(root / 'text'))
  model = torch_weights.random_model(
    showo.ShowO, showo.ShowOConfig(sizes.vocab, DECODER, 16, clip_width), 0
  )
  images = torch_weights.random_model(magvit.Magvit, MAGVIT, 1)
  for kind, name, state, record in (
    (
      'showo',
      'model',
      showo_table.to_torch(model),
      showo_table.official(model.config, LENGTHS.max_text),
    ),
    (
      'magvitv2',
      'images',
      magvit_table.to_torch(images),
      magvit_table.official(MAGVIT),
    ),
  ):
    if kind == 'showo':
      state = {k: v.astype(tensors.BFLOAT16) for k, v in state.items()}
    torch_weights.write(root / f'{name}_src', state, record)
    assert (
      convert.main(
        [kind, str(root / f'{name}_src'), str(root / name)], terminal.silent()
      )
      == 0
    )
  return sizes


def heard():
  """A console, and the list of what it says."""
  lines = []
  return terminal.Console(lines.append, lambda label: lambda x: x), lines


def configured(job, config, init_from, **changes):
  """Settings of a job that starts from a model, and says nothing else of it."""
  values = config.get_config()
  del values.job
  values.update({'init_from': str(init_from)} | changes)
  return settings.build(job.Settings, values.to_dict())


SAMPLER = {
  'steps': 2,
  'guidance': 0.0,
  'temperature': 1.0,
  'schedule': 'cosine',
}


def job_config(init_from, **changes):
  return configured(
    generate,
    configs.generate,
    init_from,
    **{'prompts': ('a red ring',), 'images_per_prompt': 1, 'sampler': SAMPLER}
    | changes,
  )


def curating(init_from):
  config = configs.curate.get_config()
  config = configured(
    curate,
    configs.curate,
    init_from,
    inputs=6,
    chunk=1,
    shard=6,
    images=3,
    captions=config.to_dict()['captions'][-2:],
    sampler=SAMPLER,
  )
  return dataclasses.replace(
    config, rules=dataclasses.replace(config.rules, least_win=0.0)
  )


def learning(init_from, pairs, lr=1e-2):
  config = configured(
    learn,
    configs.learn,
    init_from,
    pairs=str(pairs),
    both=False,
    batch=8,
    epochs=0.0,
    log_every=1,
  )
  return dataclasses.replace(
    config, optim=dataclasses.replace(config.optim, lr=lr, steps=2)
  )


def converted_sizes(world):
  """What fits the checkpoints."""
  parts = model_bundle.load_bundle(str(world / 'base'))
  return model_folder.Sizes(
    parts.model.config.vocab,
    parts.model.config.decoder,
    MAGVIT,
    parts.lengths,
    GRID,
  )


def converted_settings(world, **changes):
  """Settings of a tiny self-play that starts from the checkpoints."""
  return dataclasses.replace(
    tiny_world.self_play(world / 'base'),
    **{
      'init_from': str(world / 'model'),
      'tokenizer': str(world / 'images'),
      'text': str(world / 'text' / 'tokenizer.json'),
      'sizes': converted_sizes(world),
      'missing': 'how to get it',
    }
    | changes,
  )
