"""Learns from pairs that `curate` made, and makes none."""

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
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import workdir_claim
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
  """Settings of the job.

  Attributes:
    pairs: the folder of a curation, or a file of HermesFlow's own code, e.g.
      pair_dpo_data.json; see `official_pair_reader`.
    round: which round the pairs are for, from 1: order, masks and dropped
      conditions are those of this round.
    reference: where the frozen model is read, as `init_from` and without
      `adapters`: the base in later rounds of self-play whose reference is
      'base'; '' for the model that the round starts from.
    both: only inputs with both pairs are learned from.
    images: the folder that the images of such a file lie below; '' for the
      file's own, or for absolute paths the folder that the job starts in.
    on_error: records of such a file with faults: 'raise', or 'skip' to leave
      them out and say so.
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
      raise ValueError('pairs is empty, wanted the folder of a curation')


def run(config: Settings, workdir: str, console: terminal.Console) -> dict:
  """Learns one round; writes `model/`, returns what `results.json` holds."""
  began = time.perf_counter()
  path = job_model.locate(config, console)
  frozen = reference_settings(config)
  frozen_path = frozen and job_model.locate(frozen, console)
  pairs = storage.path(config.pairs)
  from_file = official_pair_reader.is_official_file(pairs)
  if from_file:
    official_pair_reader.read_official(pairs, config.images, config.on_error)
    sums = {pairs.name: output_files.sha256(str(pairs))}
    opened = contextlib.nullcontext(pairs)
  else:
    sums = read_manifest(pairs, config.round)
    opened = transfer.local_copy(pairs, sums)
  with opened as folder:
    if not from_file:
      check_files(pairs, folder, sums)
    mesh = job_model.make_mesh(
      config, path, console, config.batch, config.optim.accumulate
    )
    parts = job_model.load_parts(config, path, mesh)
    base = job_model.weight_hashes(config, path)
    identity = {'base': base, 'pairs': sums}
    if frozen:
      identity['frozen'] = job_model.weight_hashes(frozen, frozen_path)
    workdir_claim.claim_workdir(workdir, config, console, **identity)
    root = storage.path(workdir)
    done = root / 'results.json'
    if processes.broadcast_from_first(done.exists):
      console.say(
        f'this run is finished: see {root / "model"}; to start afresh, '
        f'remove {root} or give another --workdir'
      )
      return json.loads(done.read_text())
    player = job_model.place_on_mesh(
      config, parts, mesh, console, caption_prompt=config.caption_prompt
    )
    if from_file:
      source = official_pair_reader.load_official(
        pairs,
        config.images,
        player,
        root / 'data',
        json.dumps(fingerprints.fingerprint(parts.tokenizer)),
        config.on_error,
        console.say,
      )
    else:
      source = pair_dataset.data_source(str(folder / 'tfds'))
    rows = trainable_records(source, parts.grid[0] * parts.grid[1], config.both)
  steps = learning.step_count(config, len(rows))
  console.say(f'{len(rows)} of {len(source)} inputs have pairs to learn from')
  reference = player.model
  if frozen:
    reference = load_reference(frozen, frozen_path, player)
  model = learning.learn_round(
    player,
    reference,
    rows,
    config,
    steps,
    root / 'training',
    config.round,
    console,
  )
  # One that was killed before it wrote its results may have left it.
  processes.on_first_process(lambda: checkpoint.remove(root / 'model'))
  trained_model.save_model(
    str(root / 'model'),
    dataclasses.replace(player, model=model),
    str(path),
    {'inputs': len(rows), 'steps': steps},
  )
  results = {
    'inputs': len(rows),
    'steps': steps,
    'seconds': time.perf_counter() - began,
  }
  output_files.write_atomically(done, json.dumps(results, indent=1) + '\n')
  processes.on_first_process(
    lambda: storage.remove(root / 'training' / 'steps')
  )
  console.say(f'{steps} steps; --config.init_from={root / "model"} reads it')
  return results


def reference_settings(config: Settings) -> Settings | None:
  """Returns settings that read the reference; None for the round's start."""
  if not config.reference:
    return None
  return dataclasses.replace(config, init_from=config.reference, adapters='')


def load_reference(
  config: Settings, path: pathlib.PurePath, player: unified_model.UnifiedModel
):
  """Returns the frozen model, placed as that of the player.

  Args:
    config: of `reference_settings`.
    path: of `job_model.locate`.
    player: the model that learns.

  Raises:
    ValueError: its weights have other names or shapes than the player's.
  """
  model = job_model.load_parts(config, path, player.mesh).model
  placed = sharding.shardings(player.model, player.mesh)
  if _shapes(model) != _shapes(player.model):
    raise ValueError(
      'reference must be a model of the sizes of init_from, got '
      f'{config.init_from}; give the model that the rounds began with'
    )
  return jax.device_put(model, placed)


def _shapes(model) -> dict[str, tuple[int, ...]]:
  """The shape of each weight by its name."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(model)
  return {sharding.path_name(path): leaf.shape for path, leaf in leaves}


def read_manifest(folder: pathlib.PurePath, number: int) -> dict[str, str]:
  """Returns the sums of a curation's dataset.

  Args:
    folder: of the curation.
    number: of the round that learns.

  Raises:
    ValueError: it is not there, or not finished, or for another round.
  """
  try:
    manifest = json.loads((folder / 'manifest.json').read_text())
    sums = {
      n: s for n, s in manifest['sha256'].items() if n.startswith('tfds/')
    }
    # Older curations did not say: they were all for the first.
    made_for = manifest.get('round', 1)
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(f'no finished curation in {folder}') from error
  if not sums:
    raise ValueError(f'the curation in {folder} has no dataset')
  if made_for != number:
    raise ValueError(
      f'round must be {made_for}, that of the pairs in {folder}, got {number}'
    )
  return sums


def check_files(
  folder: pathlib.PurePath, copy: pathlib.Path, sums: dict[str, str]
) -> None:
  """Raises ValueError if files are not those that were written.

  Args:
    folder: of the curation.
    copy: where its files are read: itself, or in place of a bucket's.
    sums: of `read_manifest`.
  """
  for name, wanted in sums.items():
    if output_files.sha256(copy / name) != wanted:
      raise ValueError(f'{folder / name} is damaged')


def trainable_records(
  source: Sequence[dict], image_tokens: int, both: bool
) -> list:
  """Returns the records of a dataset that can teach, by id.

  Args:
    source: of `pair_dataset.data_source`.
    image_tokens: I, codes of an image.
    both: leave out inputs that lack one pair; otherwise those without any.

  Raises:
    ValueError: there is none, or its images have another number of codes.
  """
  rows = []
  for record in source:
    row = {
      name: value.decode() if isinstance(value, bytes) else value
      for name, value in record.items()
    }
    if len(row['codes']) != image_tokens:
      raise ValueError(
        f'images of these pairs have {len(row["codes"])} codes, those of the '
        f'model {image_tokens}'
      )
    if pair_selection.is_trainable(
      row['caption_dropped'], row['image_dropped'], both
    ):
      rows.append(row)
  if not rows:
    raise ValueError('no input has a pair to learn from')
  return sorted(rows, key=lambda row: row['id'])
