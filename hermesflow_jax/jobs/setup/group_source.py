"""Groups that `learn` reads: shards in a curation folder."""

from collections.abc import Sequence
import json
import pathlib

from hermesflow_jax.curation import gathering
from hermesflow_jax.curation import official_pair_reader
from hermesflow_jax.curation import shards
from hermesflow_jax.pair_dpo import candidate_groups
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_names
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import processes


def check_folder(pairs: pathlib.PurePath) -> None:
  """Raises ValueError for an official file, which has no groups.

  Args:
    pairs: the setting `pairs`.
  """
  if official_pair_reader.is_official_file(pairs):
    raise ValueError(
      'objective.method must be a method on pairs with a file of the official '
      f'code, which has no rewards, got grpo and {pairs}; give --config.pairs '
      'the folder of a curation'
    )


def _store(folder: pathlib.PurePath) -> shards.Shards:
  manifest = json.loads((folder / 'manifest.json').read_text())
  return shards.Shards(folder / 'shards', manifest['shards'])


def shard_hashes(folder: pathlib.PurePath) -> dict[str, str]:
  """Returns SHA-256 by file name for a finished curation's candidates.

  All processes call it.

  Args:
    folder: curation folder, whose manifest is sound.

  Raises:
    ValueError: a shard is missing or damaged.
  """

  def read():
    hashes, store = {}, _store(folder)
    for number in range(store.count):
      record = store.facts(number)
      if record is None:
        raise ValueError(
          f'pairs must be a curation with its candidates, got {folder} where '
          f'shard {number} is missing or damaged; copy the folder again'
        )
      for suffix, digest in record['sha256'].items():
        hashes[f'shards/{number:06d}.{suffix}'] = digest
    return hashes

  return processes.broadcast_from_first(read)


def read_groups(
  objective: objective_config.ObjectiveConfig,
  folder: pathlib.PurePath,
  inputs: Sequence[dict],
) -> tuple[Sequence[dict], dict]:
  """Returns the groups to train on, sorted by id, and their summary.

  Args:
    objective: says which kinds are learned from.
    folder: curation folder.
    inputs: records in its dataset, from `pair_source.checked_record`.

  Returns:
    (records from `candidate_groups.join_groups`, with `pixels` if the
    inputs have them; `candidate_groups.summarize` over all groups).

  Raises:
    ValueError: no group has a difference, or the inputs are others.
  """
  names, candidates = gathering.read_shards(_store(folder))
  places = disk_names.places(row['id'] for row in inputs)
  if places.keys() != disk_names.places(names).keys():
    raise ValueError(
      f'pairs must hold candidates of its inputs, got {folder} with shards of '
      'other inputs; run curate again with another --workdir'
    )

  def column(field):
    return disk_objects.Computed(
      len(names), lambda n: inputs[places[names[n]]][field]
    )

  groups = candidate_groups.join_groups(
    names,
    column('caption'),
    disk_arrays.stack(column('codes')),
    candidates,
    objective,
  )
  summary = candidate_groups.summarize(groups)
  groups = candidate_groups.trainable(groups)
  if not groups:
    raise ValueError(
      'pairs must have an input whose candidates differ in reward, got '
      f'{folder} with none; curate more inputs, or with another scorer'
    )
  order = disk_names.order(
    disk_objects.Computed(len(groups), lambda n: groups[n]['id'])
  )
  has_pixels = 'pixels' in inputs[0]

  def group_at(n):
    group = groups[order[n]]
    if has_pixels:
      group['pixels'] = inputs[places[group['id']]]['pixels']
    return group

  return disk_objects.Computed(len(order), group_at), summary
