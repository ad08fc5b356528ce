"""Trains a round by Pair-DPO on pairs from `curate` or the official code."""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import json
import pathlib
import time
import typing

import jax

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import fingerprints
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.curation import official_pair_reader
from hermesflow_jax.curation import pair_dataset
from hermesflow_jax.curation import pair_selection
from hermesflow_jax.data import input_faults
from hermesflow_jax.jobs.setup import curation_folder
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import job_results
from hermesflow_jax.jobs.setup import job_start
from hermesflow_jax.models import showo
from hermesflow_jax.pair_dpo import learning
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import transfer
from hermesflow_jax.sampling import unified_model


@dataclasses.dataclass(frozen=True)
class Settings(job_model.ModelSettings, learning.LearningConfig):
  """Job settings.

  Attributes:
    pairs: curation folder, or a file from the official HermesFlow code, e.g.
      pair_dpo_data.json; see `curation.official_pair_reader`.
    round: round that trains on the pairs, from 1; random keys
      derive from it.
    reference: frozen reference model, given like `init_from` and read without
      `adapters`: the base model in later rounds if self-play has reference
      'base'; '' for the model that the round starts from.
    both: whether an input needs both pairs to be trained on.
    images: folder with an official file's images; '' for the folder that holds
      the file, or for absolute paths the working directory.
    on_error: 'raise' stops at a faulty record in an official file, 'skip'
      leaves it out and prints it.
  """

  pairs: str
  round: settings.PositiveInt = dataclasses.field(default=1, kw_only=True)
  reference: str = dataclasses.field(default='', kw_only=True)
  both: bool
  images: str = ''
  on_error: typing.Annotated[str, settings.one_of(*input_faults.POLICIES)] = (
    'raise'
  )

  def __post_init__(self):
    job_model.ModelSettings.__post_init__(self)
    learning.LearningConfig.__post_init__(self)
    if not self.pairs:
      raise ValueError(
        "pairs must be the folder of a curation, got ''; give runs/curate"
      )


def run(config: Settings, workdir: str, console: terminal.Console) -> dict:
  """Trains a round on existing pairs.

  Writes the trained model `model/`, then `results.json`.

  Returns:
    Content written to `results.json`: inputs, steps and seconds.

  Raises:
    ValueError: unusable setting, file or workdir.
  """
  began = time.perf_counter()
  path = job_model.locate(config, console)
  reference_config = reference_settings(config)
  reference_path = reference_config and job_model.locate(
    reference_config, console
  )
  with local_pairs(config) as (folder, hashes):
    mesh = job_model.make_mesh(
      config, path, console, config.batch, config.optim.accumulate
    )
    parts, weights = job_start.load_initial_model(config, path, mesh)
    identity = {'base': weights, 'pairs': hashes}
    if reference_config:
      identity['frozen'] = job_model.weight_hashes(
        reference_config, reference_path
      )
    results = job_start.claim_and_read_results(
      workdir, config, console, 'results.json', **identity
    )
    root = storage.path(workdir)
    if results is not None:
      job_start.report_finished(console, workdir, root / 'model')
      return results
    unified = job_model.place_on_mesh(
      config, parts, mesh, console, caption_prompt=config.caption_prompt
    )
    source = read_pairs(config, folder, unified, root / 'data', console)
    rows = trainable_records(source, parts.grid[0] * parts.grid[1], config.both)
  console.say(f'{len(rows)} of {len(source)} inputs have pairs to learn from')
  reference = unified.model
  if reference_config:
    reference = load_reference(reference_config, reference_path, unified)
  steps = learning.step_count(config, len(rows))
  model = learning.learn_round(
    unified,
    reference,
    rows,
    config,
    steps,
    root / 'training',
    config.round,
    console,
  )
  # A run that was killed before it wrote its results may have left a model.
  processes.on_first_process(lambda: checkpoint.remove(root / 'model'))
  trained_model.save_model(
    str(root / 'model'),
    dataclasses.replace(unified, model=model),
    str(path),
    {'inputs': len(rows), 'steps': steps},
  )
  results = {
    'inputs': len(rows),
    'steps': steps,
    'seconds': time.perf_counter() - began,
  }
  job_results.write_json(root / 'results.json', results)
  processes.on_first_process(
    lambda: storage.remove(root / 'training' / 'steps')
  )
  console.say(f'{steps} steps; --config.init_from={root / "model"} reads it')
  return results


@contextlib.contextmanager
def local_pairs(
  config: Settings,
) -> Iterator[tuple[pathlib.PurePath, dict[str, str]]]:
  """Yields a local copy of the pairs, and SHA-256 by file name.

  Args:
    config: job settings.

  Raises:
    ValueError: the pairs are missing, damaged or for another round.
  """
  pairs = storage.path(config.pairs)
  if official_pair_reader.is_official_file(pairs):
    official_pair_reader.read_official(pairs, config.images, config.on_error)
    yield pairs, {pairs.name: output_files.sha256(str(pairs))}
    return
  hashes = curation_folder.dataset_hashes(pairs, config.round)
  with transfer.local_copy(pairs, hashes) as folder:
    curation_folder.check_dataset(pairs, folder, hashes)
    yield folder, hashes


def read_pairs(
  config: Settings,
  path: pathlib.PurePath,
  unified: unified_model.UnifiedModel,
  data_dir: pathlib.PurePath,
  console: terminal.Console,
) -> Sequence[dict]:
  """Returns pair records from a dataset or an official file.

  Args:
    config: job settings.
    path: path from `local_pairs`.
    unified: model whose tokenizer encodes images of an official file.
    data_dir: folder that keeps encoded images.
    console: prints which records are left out.
  """
  if not official_pair_reader.is_official_file(path):
    return pair_dataset.data_source(str(path / 'tfds'))
  return official_pair_reader.load_official(
    path,
    config.images,
    unified,
    data_dir,
    json.dumps(fingerprints.fingerprint(unified.tokenizer)),
    config.on_error,
    console.say,
  )


def reference_settings(config: Settings) -> Settings | None:
  """Returns settings that load the frozen reference model.

  Returns None if the reference is the model that the round starts from.
  """
  if not config.reference:
    return None
  return dataclasses.replace(config, init_from=config.reference, adapters='')


def load_reference(
  config: Settings, path: pathlib.PurePath, unified: unified_model.UnifiedModel
) -> showo.ShowO:
  """Returns the frozen reference model, sharded like the trained model.

  Args:
    config: settings from `reference_settings`.
    path: folder from `job_model.locate`.
    unified: the model to train.

  Raises:
    ValueError: weights differ from the trained model in name or shape.
  """
  model = job_model.load_parts(config, path, unified.mesh).model
  placed = sharding.shardings(unified.model, unified.mesh)
  if _shapes(model) != _shapes(unified.model):
    raise ValueError(
      'reference must be a model of the sizes of init_from, got '
      f'{config.init_from}; give the model that the rounds started from'
    )
  return jax.device_put(model, placed)


def _shapes(model) -> dict[str, tuple[int, ...]]:
  """Returns weight shapes by name."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(model)
  return {sharding.path_name(path): leaf.shape for path, leaf in leaves}


def trainable_records(
  source: Sequence[dict], image_tokens: int, both: bool
) -> list:
  """Returns the records that have pairs to train on, sorted by id.

  Args:
    source: records from `pair_dataset.data_source`.
    image_tokens: I, codes per image.
    both: whether an input needs both pairs; otherwise either pair suffices.

  Raises:
    ValueError: no record has pairs, or images have another code count.
  """
  rows = []
  for record in source:
    row = {
      name: value.decode() if isinstance(value, bytes) else value
      for name, value in record.items()
    }
    if len(row['codes']) != image_tokens:
      raise ValueError(
        f'images of the pairs must have {image_tokens} codes like images of '
        f'the model, got {len(row["codes"])}; curate pairs with this model'
      )
    if pair_selection.is_trainable(
      row['caption_dropped'], row['image_dropped'], both
    ):
      rows.append(row)
  if not rows:
    raise ValueError('no input has a pair to learn from; curate more inputs')
  return sorted(rows, key=lambda row: row['id'])
