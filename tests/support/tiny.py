"""Models and texts small enough for a test, and meshes of some devices."""

import functools

from flax import nnx
import jax
import numpy as np
import torch_weights

from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary
from hermesflow_jax.training import pretraining

WORDS = (
  'user : give a caption for this image . assistant red blue green circle '
  'square star one two what color is the shape ? yes no'
).split()
GRID = (2, 2)
IMAGE_TOKENS = 4
LENGTHS = token_rows.Lengths(max_text=8, mmu=32, prompt=26, lm=8, reply=5)


@functools.cache
def text() -> text_tokenizer.TextTokenizer:
  """Returns a tokenizer of WORDS."""
  return text_tokenizer.word_level_tokenizer(WORDS)


def vocab() -> vocabulary.Vocab:
  """Returns the vocabulary of `text` and 16 image codes."""
  return vocabulary.Vocab(text().size, 16, text().eos)


def sizes(**changes) -> showo.ShowOConfig:
  """Returns the sizes of the model: two layers of width 16."""
  decoder = dict(width=16, layers=2, heads=2, mlp=32) | changes
  return showo.ShowOConfig(vocab(), phi.PhiConfig(**decoder), IMAGE_TOKENS)


@functools.partial(jax.jit, static_argnames='remat')
def show_o(key: jax.Array, remat: str = 'none') -> showo.ShowO:
  """Returns a random model whose logits are far from uniform."""
  model = showo.ShowO(sizes(remat=remat), rngs=nnx.Rngs(key))
  model.head.kernel[...] *= 4.0
  return model


@functools.cache
def tokenizer() -> magvit.Magvit:
  """Returns a random image tokenizer of 4 bits: 8 x 8 pixels to 2 x 2 codes."""
  config = magvit_config.MagvitConfig(
    ch=4,
    encoder_ch_mult=(1, 1, 1),
    decoder_ch_mult=(1, 1, 1),
    encoder_num_res_blocks=(1, 1, 1),
    decoder_num_res_blocks=(1, 1, 1),
    z_channels=4,
    num_groups=2,
  )
  return jax.device_put(torch_weights.random_model(magvit.Magvit, config, 0))


def mesh(data: int, model: int) -> jax.sharding.Mesh:
  """Returns a mesh over the first `data * model` devices."""
  return jax.make_mesh(
    (data, model),
    ('data', 'model'),
    axis_types=(jax.sharding.AxisType.Auto,) * 2,
    devices=jax.devices()[: data * model],
  )


def records(count: int) -> list[dict]:
  """Returns records of pretraining, with random codes."""
  rng = np.random.default_rng(0)
  names = ['red circle', 'blue square', 'two green star', 'one red square']
  return [
    {
      'id': str(i),
      'codes': rng.integers(0, 16, IMAGE_TOKENS),
      'caption': names[i % 4],
      'qa': [('what color is the shape ?', 'red')][: i % 3],
    }
    for i in range(count)
  ]


def flows(mixture: pretraining.TaskMixture):
  """Returns the function from a record to its rows of all three flows."""
  item = pretraining.transforms(vocab(), text(), LENGTHS, mixture)

  def rows(record, rng):
    return {name: make(record, rng) for name, make in item.items()}

  return rows
