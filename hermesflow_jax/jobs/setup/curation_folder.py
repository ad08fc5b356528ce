"""Finished curation folder: manifest, pairs and dataset."""

import json
import pathlib

import jax

from hermesflow_jax.curation import pair_dataset
from hermesflow_jax.curation import pair_files
from hermesflow_jax.curation import pair_selection
from hermesflow_jax.data import input_set
from hermesflow_jax.jobs.setup import job_results
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import transfer


def write_curation(
  root: pathlib.PurePath,
  inputs: input_set.Inputs,
  pairs: dict[str, tuple[pair_selection.Pair, pair_selection.Pair]],
  number: int,
  shard_count: int,
) -> dict:
  """Writes `pairs.jsonl`, the TFDS dataset `tfds/`, then `manifest.json`.

  Args:
    root: curation folder.
    inputs: round inputs.
    pairs: (caption pair, image pair) by input id.
    number: round that trains on the pairs, from 1.
    shard_count: candidate shards.

  Returns:
    The manifest: counts, and SHA-256 by file.
  """
  rows = [
    pair_files.pair_to_record(name, caption, pairs[name])
    | {'codes': codes.tolist()}
    for name, caption, codes in zip(inputs.ids, inputs.captions, inputs.codes)
  ]
  output_files.write_atomically(
    root / 'pairs.jsonl', output_files.json_lines(rows)
  )
  with transfer.Outbox(root / 'tfds') as outbox:
    pair_dataset.write_dataset(str(outbox.folder), rows, inputs.codes.shape[1])
  names = [
    'pairs.jsonl',
    *(f'tfds/{name}' for name in sorted(storage.list_files(root / 'tfds'))),
  ]
  manifest = {
    'round': number,
    'inputs': len(inputs),
    'shards': shard_count,
    'drops': pair_files.drop_counts(pairs),
    'sha256': {name: output_files.sha256(root / name) for name in names},
    'jax': jax.__version__,
  }
  job_results.write_json(root / 'manifest.json', manifest)
  return manifest


def read_previous_round(folder: str, number: int) -> tuple[dict, str]:
  """Returns the previous pairs by id, and their SHA-256.

  Args:
    folder: curation folder, or a `round_<r>` from `pair_dpo`.
    number: previous round, from 1.

  Raises:
    ValueError: the folder has no readable pairs, its pairs are damaged, or
      they belong to another round.
  """
  root = storage.path(folder)
  try:
    digest = output_files.sha256(root / 'pairs.jsonl')
    pairs = pair_files.read_pairs(root)
  except (
    *storage.failures(),
    ValueError,
    KeyError,
    TypeError,
    OverflowError,
    RecursionError,
  ) as error:
    raise ValueError(
      'before must be the folder of a curation, or of a round such as '
      f'runs/pair_dpo/round_1, got {folder}: {error}'
    ) from error
  manifest = root / 'manifest.json'
  if manifest.exists():
    record = json.loads(manifest.read_text())
    if digest != record['sha256']['pairs.jsonl']:
      raise ValueError(
        f'{root / "pairs.jsonl"} is damaged; remove it and run curate again'
      )
    if record.get('round', 1) != number:
      raise ValueError(
        f'before must hold the pairs of round {number}, got {folder} of '
        f'round {record.get("round", 1)}'
      )
  return pairs, digest


def dataset_hashes(folder: pathlib.PurePath, number: int) -> dict[str, str]:
  """Returns dataset files as SHA-256 by name.

  Args:
    folder: curation folder.
    number: round that trains on the pairs, from 1.

  Raises:
    ValueError: the curation is missing, unfinished, or for another round.
  """
  try:
    manifest = json.loads((folder / 'manifest.json').read_text())
    hashes = {
      name: digest
      for name, digest in manifest['sha256'].items()
      if name.startswith('tfds/')
    }
    # Manifests of earlier releases have no round: all were of round 1.
    round_of_pairs = manifest.get('round', 1)
  except (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
  ) as error:
    raise ValueError(
      f'no finished curation in {folder}; run curate with --workdir={folder}'
    ) from error
  if not hashes:
    raise ValueError(f'the curation in {folder} has no dataset')
  if round_of_pairs != number:
    raise ValueError(
      f'round must be {round_of_pairs}, the round of the pairs in {folder}, '
      f'got {number}'
    )
  return hashes


def check_dataset(
  folder: pathlib.PurePath, copy: pathlib.Path, hashes: dict[str, str]
) -> None:
  """Raises ValueError if a dataset file has changed since the curation.

  Args:
    folder: curation folder.
    copy: local copy; the folder itself if it is local.
    hashes: SHA-256 by file name, from `dataset_hashes`.
  """
  for name, expected_hash in hashes.items():
    if output_files.sha256(copy / name) != expected_hash:
      raise ValueError(
        f'{folder / name} is damaged; copy the folder again, or run curate '
        'again with another --workdir'
      )
