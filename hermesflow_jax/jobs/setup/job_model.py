"""The model of a job: shipped, trained, bundled or converted."""

import dataclasses
import pathlib

from flax import nnx
import jax

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.checkpoints import lora_checkpoint
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import run_folder
from hermesflow_jax.jobs.setup import mesh_config
from hermesflow_jax.models import lora
from hermesflow_jax.models import magvit
from hermesflow_jax.models import showo
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import question_answering
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.sequences import text_tokenizer

ASSETS = pathlib.Path(__file__).parents[2] / 'assets'


@dataclasses.dataclass(frozen=True)
class ModelSettings:
  """Settings of every job that has a model.

  Attributes:
    mesh: devices.
    init_from: the folder of a model: a trained one (a round of `pair_dpo`,
      `model/` of `learn` or `pretrain`), a bundle, or a Show-o of
      `conversions.convert`; the folder of a run of these jobs, which means its
      newest model (e.g. runs/pair_dpo: the newest finished round); or
      'assets:<name>' for a bundle that is shipped.
    tokenizer: the image tokenizer: a MAGVIT-v2 of `conversions.convert`, or
      any folder of a model or run that has one.
    text: a folder with the text tokenizer. `tokenizer` and `text` are read for
      a converted Show-o, which has neither. A trained model and a bundle have
      both, and theirs are used: then `tokenizer` and `text` may be '' or
      missing, and where they are there, they must be the same.
    missing: the line that says how to get these; '' if they are shipped.
    sizes: what they must hold; None takes what a trained model or a bundle
      holds.
    chunk: rows that a device samples at once, at most.
    adapters: a folder of `lora_checkpoint.save_adapters`, whose adapters are added to the model;
      '' for none.
  """

  mesh: mesh_config.MeshConfig = settings.not_identity()
  init_from: str
  tokenizer: str
  text: str
  missing: str = settings.not_identity()
  sizes: initial_model.Sizes | None
  chunk: settings.PositiveInt = settings.not_identity()
  adapters: str

  def __post_init__(self):
    settings.check(self)


def abstract_model(sizes: initial_model.Sizes):
  """Returns the model and the tokenizer as shapes, without any memory."""
  config = showo.ShowOConfig(
    sizes.vocab, sizes.decoder, sizes.grid[0] * sizes.grid[1]
  )
  return nnx.eval_shape(
    lambda: (
      showo.ShowO(config, rngs=nnx.Rngs(0)),
      magvit.Magvit(sizes.tokenizer, nnx.Rngs(0)),
    )
  )


def locate(
  config: ModelSettings, console: terminal.Console | None = None
) -> pathlib.PurePath:
  """Returns the folder of the model that the run starts from.

  All is checked that can be before any weight is read.

  Args:
    config: names it.
    console: hears which folder of a run is taken, and whether the checkpoint
      was trained on images of another size.

  Raises:
    ValueError: it, or what belongs to it, is missing (with the command that
      makes it), or no job can start from it.
  """
  console = console or terminal.silent()
  name = config.init_from
  if name.startswith('assets:'):
    name = ASSETS / name.removeprefix('assets:')
  initial_model.check_exists([str(name)], config.missing)
  path = run_folder.newest_model(name)
  if path != storage.path(name):
    console.say(f'init_from {name}: taking {path}')
  initial_model.check_exists([str(path)], config.missing)
  if not initial_model.has_all_parts(str(path)):
    initial_model.check_exists([config.tokenizer, config.text], config.missing)
  _check_sizes(config, str(path), console)
  if config.adapters and not checkpoint.is_checkpoint(config.adapters):
    raise ValueError(f'adapters: no checkpoint at {config.adapters}')
  return path


def make_mesh(
  config: ModelSettings,
  path: pathlib.PurePath,
  console: terminal.Console,
  batch: int,
  accumulate: int = 1,
) -> jax.sharding.Mesh:
  """Returns the mesh of a job that learns; see `mesh_config.MeshConfig`.

  Args:
    config: of the job.
    path: of `locate`; says the sizes of the model where `config` does not.
    console: hears the mesh that was chosen.
    batch: pairs or rows a step.
    accumulate: parts that a batch is computed in.

  Raises:
    ValueError: see `mesh_config.MeshConfig.make`; or the sizes cannot be read.
  """
  sizes = config.sizes or initial_model.read_config(str(path))
  return config.mesh.make(
    batch, accumulate, mesh_config.model_divisor(sizes.decoder), console.say
  )


def _check_sizes(config, path, console):
  """Raises ValueError for a transformer that no job can start from."""
  model = initial_model.read_config(path)
  if not config.sizes:
    return
  image_tokens = config.sizes.grid[0] * config.sizes.grid[1]
  if model.image_tokens != image_tokens:
    console.say(
      f'{path} was trained with {model.image_tokens} tokens an image; this '
      f'run has {image_tokens}'
    )


def load_parts(
  config: ModelSettings, path: pathlib.PurePath, mesh
) -> model_bundle.Bundle:
  """Reads what the run starts from; see `initial_model.load_parts` and `lora_checkpoint.read_adapters`."""
  parts = initial_model.load_parts(
    str(path), config.tokenizer, config.text, config.sizes, mesh
  )
  if not config.adapters:
    return parts
  adapters, kind = lora_checkpoint.read_adapters(
    config.adapters, parts.model, mesh
  )
  model = jax.device_put(parts.model, sharding.shardings(parts.model, mesh))
  return dataclasses.replace(
    parts, model=lora.merge(model, adapters, config=kind)
  )


def weight_hashes(config: ModelSettings, path: pathlib.PurePath) -> dict:
  """Returns sums of all weights that `load_parts` reads, by their names."""
  found = dict(initial_model.weight_hashes(str(path), config.tokenizer))
  if config.adapters:
    found |= {
      f'adapters/{name}': each
      for name, each in checkpoint.array_hashes(config.adapters).items()
    }
  return found


def answer_encoding(text: text_tokenizer.TextTokenizer) -> dict[str, str]:
  """Returns how choices are encoded, where it is not as in earlier releases.

  It is a part of what a run is: those of earlier releases encoded a choice
  without the space before it, which makes other tokens in a byte-level BPE.
  What they answered, and the pairs that they chose by answers, is wrong.

  Args:
    text: the text tokenizer.
  """
  word = 'red'
  if text.encode_replies([word]) == text.encode([word]):
    return {}
  return {'answers': 'choices are encoded as they follow the prompt'}


def place_on_mesh(
  config: ModelSettings,
  parts: model_bundle.Bundle,
  mesh,
  console: terminal.Console,
  answering: question_answering.AnswerConfig = question_answering.AnswerConfig(),
  caption_prompt: str = text_tokenizer.CAPTION_PROMPT,
) -> unified_model.UnifiedModel:
  """Returns the model of a bundle at work on a mesh.

  Args:
    config: says how many rows at once.
    parts: what was read.
    mesh: where it works.
    console: shows progress.
    answering, caption_prompt: see `unified_model.UnifiedModel`.
  """
  placed = sharding.shardings(parts.model, mesh)
  return unified_model.UnifiedModel(
    model=jax.device_put(parts.model, placed),
    tokenizer=jax.device_put(parts.tokenizer, sharding.replicated(mesh)),
    text=parts.text,
    lengths=parts.lengths,
    grid=parts.grid,
    mesh=mesh,
    chunk=config.chunk * mesh.shape['data'],
    progress=console.progress,
    answering=answering,
    caption_prompt=caption_prompt,
  )
