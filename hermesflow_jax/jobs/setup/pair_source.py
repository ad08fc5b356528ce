"""Pairs that `learn` reads: a curation folder, or an official file."""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import json
import pathlib

from hermesflow_jax.checkpoints import fingerprints
from hermesflow_jax.curation import official_pair_reader
from hermesflow_jax.jobs.setup import curation_folder
from hermesflow_jax.jobs.setup import group_source
from hermesflow_jax.jobs.setup import vision_tower
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import transfer
from hermesflow_jax.sampling import unified_model


@dataclasses.dataclass(frozen=True)
class PairSource:
  """A local copy of the pairs.

  Attributes:
    folder: setting that names the pairs, a `storage.path`.
    path: the copy; the pairs themselves if they are local.
    hashes: SHA-256 by file name.
    images: image files of an official file.
  """

  folder: pathlib.PurePath
  path: pathlib.PurePath
  hashes: dict[str, str]
  images: tuple[pathlib.PurePath, ...] = ()

  @property
  def is_official(self) -> bool:
    """Whether the official code's form is read."""
    return official_pair_reader.is_official_file(self.folder)


@contextlib.contextmanager
def open_pairs(config) -> Iterator[PairSource]:
  """Yields the pairs of the settings of `learn`.

  Args:
    config: job settings.

  Raises:
    ValueError: the pairs are missing, damaged or for another round.
  """
  pairs, uses_groups = storage.path(config.pairs), config.objective.uses_groups
  if uses_groups:
    group_source.check_folder(pairs)
  if official_pair_reader.is_official_file(pairs):
    curation_folder.check_round_of_file(pairs, config.round)
    records = official_pair_reader.read_official(
      pairs, config.images, config.on_error
    )
    names = ('path', 'path_win', 'path_lose')
    images = tuple(record[name] for record in records for name in names)
    hashes = {pairs.name: output_files.sha256(str(pairs))}
    yield PairSource(pairs, pairs, hashes, images)
    return
  hashes = curation_folder.dataset_hashes(pairs, config.round)
  candidates = group_source.shard_hashes(pairs) if uses_groups else {}
  with transfer.local_copy(pairs, hashes) as folder:
    curation_folder.check_dataset(pairs, folder, hashes)
    yield PairSource(pairs, folder, hashes | candidates)


def checked_record(record: dict, image_tokens: int) -> dict:
  """Returns a record of a dataset with texts as `str`.

  Args:
    record: from `read_pairs`.
    image_tokens: I, codes per image of the model.

  Raises:
    ValueError: its image has another code count.
  """
  row = {
    name: value.decode() if isinstance(value, bytes) else value
    for name, value in record.items()
  }
  if len(row['codes']) != image_tokens:
    raise ValueError(
      f'images of the pairs must have {image_tokens} codes like images of '
      f'the model, got {len(row["codes"])}; curate pairs with this model'
    )
  return row


def checked_records(
  records: Sequence[dict], image_tokens: int
) -> Sequence[dict]:
  """Returns checked records; many lie in a file, without their `pixels`.

  Args:
    records: from `read_pairs`.
    image_tokens: I, codes per image of the model.

  Raises:
    ValueError: an image has another code count.
  """

  def checked(record):
    row = checked_record(record, image_tokens)
    return {name: row[name] for name in row if name != 'pixels'}

  rows = disk_objects.keep(map(checked, records))
  if not len(records) or 'pixels' not in records[0]:
    return rows
  with_pixels = lambda n: rows[n] | {'pixels': records[n]['pixels']}
  return disk_objects.few_as_list(disk_objects.Computed(len(rows), with_pixels))


def without_pixels(rows: Sequence[dict]) -> tuple[Sequence[dict], Sequence]:
  """Returns records without the functions that read images, and these.

  Args:
    rows: N records with `pixels`.
  """

  def row_at(n):
    row = rows[n]
    return {name: row[name] for name in row if name != 'pixels'}

  return tuple(
    disk_objects.few_as_list(disk_objects.Computed(len(rows), value_at))
    for value_at in (row_at, lambda n: rows[n]['pixels'])
  )


def read_pairs(
  config,
  source: PairSource,
  unified: unified_model.UnifiedModel,
  data_dir: pathlib.PurePath,
  console: terminal.Console,
) -> Sequence[dict]:
  """Returns pair records from a dataset or an official file.

  For a model with a CLIP tower they have `pixels`, functions that read the real
  images; see `image_encoding.load_encoded`.

  Args:
    config: settings of `learn`.
    source: pairs from `open_pairs`.
    unified: model whose tokenizer encodes images of an official file.
    data_dir: folder that keeps encoded images.
    console: prints which records are left out.

  Raises:
    ValueError: the model needs images, and the dataset has none.
  """
  if not source.is_official:
    # With tensorflow_datasets.
    from hermesflow_jax.curation import pair_dataset

    folder = str(source.path / 'tfds')
    records = pair_dataset.data_source(folder)
    if unified.vision is None:
      return records
    images = pair_dataset.image_source(folder)
    if images is None:
      raise ValueError(
        f'pairs must hold images for a model that reads CLIP features, got '
        f'{source.folder} without: curate again with --config.vision='
        f'{config.vision} and another --workdir'
      )
    return disk_objects.few_as_list(
      disk_objects.Computed(
        len(records), lambda n: dict(records[n]) | {'pixels': images.readers[n]}
      )
    )
  return official_pair_reader.load_official(
    source.path,
    config.images,
    unified,
    data_dir,
    json.dumps(fingerprints.fingerprint(unified.tokenizer)),
    config.on_error,
    console.say,
    config.least_win,
    vision_tower.pixel_size(unified),
  )
