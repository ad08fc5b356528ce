"""Small random checkpoints in the official layouts, one for each kind."""

import json
import pathlib

import jax
import numpy as np

from conversions.files import safetensors_file
from conversions.files import tensors
from conversions.tables import bert_table
from conversions.tables import clip_model_table
from conversions.tables import clip_table
from conversions.tables import inception_table
from conversions.tables import magvit_table
from conversions.tables import mpnet_table
from conversions.tables import showo_table
from hermesflow_jax.models import abstract_modules
from hermesflow_jax.models import bert
from hermesflow_jax.models import clip
from hermesflow_jax.models import clip_scores
from hermesflow_jax.models import clip_text
from hermesflow_jax.models import inception
from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import mpnet
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sequences import vocabulary

DECODER = phi.PhiConfig(width=32, layers=3, heads=4, mlp=24)
SHOW_O = showo.ShowOConfig(vocabulary.Vocab(20, 8, 19), DECODER, 4)
WITH_CLIP = showo.ShowOConfig(
  vocabulary.Vocab(20, 8, 19), DECODER, 4, clip_width=12
)
CLIP = clip.ClipConfig(width=12, layers=3, heads=2, mlp=20, patch=4, image=12)
CLIP_MODEL = clip_scores.ClipModelConfig(
  vision=CLIP,
  text=clip_text.ClipTextConfig(
    width=16, layers=2, heads=4, mlp=24, vocab=40, length=9
  ),
  features=10,
)
INCEPTION = inception.InceptionConfig(divisor=16)
BERT = bert.BertConfig(
  vocab=50, width=24, layers=3, heads=2, mlp=20, positions=40
)
MPNET = mpnet.MPNetConfig(
  vocab=50, width=24, layers=3, heads=2, mlp=20, positions=42
)
MAGVIT = magvit_config.MagvitConfig(
  ch=8,
  encoder_ch_mult=(1, 2),
  decoder_ch_mult=(1, 2),
  encoder_num_res_blocks=(1, 2),
  decoder_num_res_blocks=(2, 1),
  z_channels=3,
  num_groups=4,
)


def noisy(model, seed: int):
  """Returns a model none of whose parameters is trivial."""
  leaves, structure = jax.tree.flatten(model)
  rng = np.random.default_rng(seed)
  return jax.tree.unflatten(
    structure,
    [
      np.asarray(a) + 0.1 * rng.normal(size=a.shape).astype(np.float32)
      for a in leaves
    ],
  )


# name: what `abstract_modules.abstract_module` needs
KINDS = {
  'showo': (showo.ShowO, SHOW_O),
  'with_clip': (showo.ShowO, WITH_CLIP),
  'magvitv2': (magvit.Magvit, MAGVIT),
  'clip_vision': (clip.Clip, CLIP),
  'clip': (clip_scores.ClipModel, CLIP_MODEL),
  'inception': (inception.Inception, INCEPTION),
  'bert': (bert.Bert, BERT),
  'mpnet': (mpnet.MPNet, MPNET),
}

# name: table of its weights
TABLES = {
  'showo': showo_table,
  'with_clip': showo_table,
  'magvitv2': magvit_table,
  'clip_vision': clip_table,
  'clip': clip_model_table,
  'inception': inception_table,
  'bert': bert_table,
  'mpnet': mpnet_table,
}


def model(name: str, seed: int = 0):
  """Returns a random model: a name in KINDS."""
  return random_model(*KINDS[name], seed)


def random_model(model_class, config, seed: int):
  """Returns a random model of a class with a config."""
  rng = np.random.default_rng(seed)

  def initial(path, leaf):
    kind = sharding.path_name(path).rpartition('/')[2]
    if kind in ('scale', 'bias', 'mean', 'var'):
      value = kind in ('scale', 'var')
      return np.full(leaf.shape, value, np.float32)
    size = np.float32(np.sqrt(np.prod(leaf.shape[:-1])))
    return rng.normal(size=leaf.shape).astype(np.float32) / size

  shapes = abstract_modules.abstract_module(model_class, config)
  return noisy(jax.tree_util.tree_map_with_path(initial, shapes), seed)


def arrays(name: str, dtype=np.float32) -> dict[str, np.ndarray]:
  """Returns the state dict of `model(name)`, floats in `dtype`."""
  actual = model(name)
  state = TABLES[name].to_torch(actual)
  return {
    k: v.astype(dtype) if v.dtype in tensors.FLOATS else v
    for k, v in state.items()
  }


def config(name: str) -> dict:
  """Returns the official config.json of `model(name)`."""
  if name == 'magvitv2':
    return magvit_table.official(MAGVIT)
  if name == 'clip_vision':
    return clip_table.official(CLIP, 'float32')
  if name == 'clip':
    return clip_model_table.official(CLIP_MODEL, 'float32')
  if name == 'inception':
    return inception_table.official(INCEPTION)
  if name == 'bert':
    return bert_table.official(BERT, 'float32')
  if name == 'mpnet':
    return mpnet_table.official(MPNET, 'float32')
  sizes = SHOW_O if name == 'showo' else WITH_CLIP
  return showo_table.official(sizes, 6)


def write(folder: pathlib.Path, state: dict, record: dict) -> pathlib.Path:
  """Writes a checkpoint folder; returns it."""
  folder.mkdir(parents=True, exist_ok=True)
  expected = {k: (v.shape, v.dtype) for k, v in state.items()}
  path = folder / 'model.safetensors'
  path.unlink(missing_ok=True)
  safetensors_file.write(path, expected, state.get, {'format': 'pt'})
  (folder / 'config.json').write_text(json.dumps(record))
  return folder
