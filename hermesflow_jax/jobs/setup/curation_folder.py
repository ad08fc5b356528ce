"""Finished curation folder: manifest, pairs and dataset."""

from collections.abc import Callable
import contextlib
import json
import pathlib
import re

import jax

from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.curation import pair_files
from hermesflow_jax.curation import pair_records
from hermesflow_jax.curation import pair_selection
from hermesflow_jax.data import input_set
from hermesflow_jax.jobs.setup import folder_contents
from hermesflow_jax.jobs.setup import job_results
from hermesflow_jax.jobs.setup import tokenizer_hashes
from hermesflow_jax.runtime import lock_turn
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import transfer


def write_curation(
  root: pathlib.PurePath,
  inputs: input_set.Inputs,
  pairs: dict[str, tuple[pair_selection.Pair, pair_selection.Pair]],
  number: int,
  shard_count: int,
  tokenizers: dict[str, str] | None = None,
) -> dict:
  """Writes `pairs.jsonl`, the TFDS dataset `tfds/`, then `manifest.json`.

  Args:
    root: curation folder.
    inputs: round inputs.
    pairs: (caption pair, image pair) by input id.
    number: round that trains on the pairs, from 1.
    shard_count: candidate shards.
    tokenizers: hashes by tokenizer, see `tokenizer_hashes`; None if not known.

  Returns:
    The manifest: counts, and SHA-256 by file.
  """
  from hermesflow_jax.curation import pair_dataset  # Writes with TFDS.

  rows = pair_records.PairRecords(inputs, pairs, with_real_codes=True)
  output_files.write_json_lines(root / 'pairs.jsonl', rows)
  size, images = inputs.codes.shape[1], inputs.pixels
  with transfer.Outbox(root / 'tfds') as outbox:
    pair_dataset.write_dataset(str(outbox.folder), rows, size, images)
  files = (f'tfds/{file}' for file in storage.list_files(root / 'tfds'))
  names = ['pairs.jsonl', *sorted(files)]
  manifest = {
    'round': number,
    'inputs': len(inputs),
    'shards': shard_count,
    'drops': pair_files.drop_counts(pairs),
    'sha256': {name: output_files.sha256(root / name) for name in names},
    'jax': jax.__version__,
  } | ({'tokenizers': tokenizers} if tokenizers else {})
  job_results.write_json(root / 'manifest.json', manifest)
  return manifest


def finish_lock(
  root: pathlib.PurePath, say: Callable[[str], None] = lambda line: None
) -> contextlib.AbstractContextManager:
  """Lets shares that end at the same time write the pairs one after another.

  A bucket has no locks: its shares all write the pairs, with the same bytes.

  Args:
    root: curation folder.
    say: prints that this share waits for another.
  """
  if not storage.is_local(root):
    return contextlib.nullcontext()
  return lock_turn.wait(root, folder_contents.FINISH, say=say)


def read_finished(root: pathlib.PurePath) -> dict | None:
  """Returns the manifest of a finished curation.

  Args:
    root: curation folder.

  Returns:
    The manifest; None without one, or if it is damaged or names files that do
    not exist. Then the dataset is removed, to be written again.
  """
  file = root / 'manifest.json'
  if not file.exists():
    return None
  try:
    manifest = json.loads(file.read_bytes())
    if is_manifest(manifest) and not missing_files(root, manifest):
      return manifest
  except (ValueError, RecursionError):
    pass
  storage.remove(root / 'tfds')
  return None


def is_manifest(value: object) -> bool:
  """Returns whether a JSON value may be the manifest of a curation."""
  return isinstance(value, dict) and isinstance(value.get('sha256', {}), dict)


def missing_files(
  folder: pathlib.PurePath, manifest: dict
) -> list[pathlib.PurePath]:
  """Returns the files of a finished curation that are gone or damaged.

  Hashes of files in a bucket are not compared.

  Args:
    folder: curation folder.
    manifest: its manifest.
  """
  missing = []
  for name, expected in manifest.get('sha256', {'pairs.jsonl': ''}).items():
    file = folder / name
    if not file.exists() or (
      storage.is_local(file) and output_files.sha256(file) != expected
    ):
      missing.append(file)
  return missing


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
  manifest = root / 'manifest.json'
  try:
    digest = output_files.sha256(root / 'pairs.jsonl')
    pairs = pair_files.read_pairs(root)
    if manifest.exists():
      record = json.loads(manifest.read_bytes())
      expected = record['sha256']['pairs.jsonl']
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
  if manifest.exists():
    if digest != expected:
      raise ValueError(
        f'{root / "pairs.jsonl"} is damaged; remove it and run curate again'
      )
    if record.get('round', 1) != number:
      raise ValueError(
        f'before must hold the pairs of round {number}, got {folder} of '
        f'round {record.get("round", 1)}'
      )
  return pairs, digest


def check_tokenizers(
  folder: pathlib.PurePath,
  parts: model_bundle.Bundle,
  console: terminal.Console,
) -> None:
  """Checks that pairs were made with the tokenizers of a model.

  All processes call it.

  Args:
    folder: curation folder.
    parts: the model that learns from the pairs.
    console: reports that earlier releases did not record the tokenizers.

  Raises:
    ValueError: a tokenizer is another.
  """
  own = tokenizer_hashes.hashes_of(parts)
  manifest = processes.broadcast_from_first(
    lambda: json.loads((folder / 'manifest.json').read_text())
  )
  recorded = manifest.get('tokenizers')
  if not isinstance(recorded, dict):
    console.say(
      f'{folder} does not say which tokenizers its pairs were made with: that '
      'they are those of the model is not known'
    )
    return
  different = [name for name in own if recorded.get(name) != own[name]]
  if different:
    raise ValueError(
      f'pairs must be made with the tokenizers of the model, got {folder} with '
      f'another {" and another ".join(different)} tokenizer; give the '
      '--config.init_from that curated them, or curate again'
    )


def check_round_of_file(file: pathlib.PurePath, number: int) -> None:
  """Checks the round of an official file that a run of this package wrote.

  Args:
    file: official file. Its folder tells the round: by the manifest of a
      curation, or by the name `round_<r>` of `pair_dpo`.
    number: round that trains on the pairs, from 1.

  Raises:
    ValueError: the pairs are for another round.
  """
  match = re.fullmatch(r'round_(\d+)', file.parent.name)
  round_of_pairs = int(match[1]) if match else number
  try:
    manifest = json.loads((file.parent / 'manifest.json').read_text())
    if isinstance(manifest, dict) and 'sha256' in manifest:
      round_of_pairs = manifest.get('round', 1)
  except (*storage.failures(), ValueError, RecursionError):
    pass  # The file of another program has no manifest.
  _check_round(round_of_pairs, number, file)


def _check_round(round_of_pairs, number, source):
  if round_of_pairs != number:
    raise ValueError(
      f'round must be {round_of_pairs}, the round of the pairs in {source}, '
      f'got {number}'
    )


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
  _check_round(round_of_pairs, number, folder)
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
