"""Recognizes the form of a data set by its content, and opens its records."""

import itertools

from hermesflow_jax.data import image_listing
from hermesflow_jax.data.sources import coco_captions
from hermesflow_jax.data.sources import csv_rows
from hermesflow_jax.data.sources import folder_rows
from hermesflow_jax.data.sources import journeydb
from hermesflow_jax.data.sources import json_rows
from hermesflow_jax.data.sources import llava
from hermesflow_jax.data.sources import rows
from hermesflow_jax.data.sources import shard_names
from hermesflow_jax.data.sources import tables
from hermesflow_jax.data.sources import tar_members
from hermesflow_jax.data.sources import tfds_rows
from hermesflow_jax.data.sources import webdataset
from hermesflow_jax.runtime import storage

AUTO = 'auto'
FORMS = (
  'records',
  'journeydb',
  'coco',
  'llava',
  'imagefolder',
  'webdataset',
  'tfds',
)
# Our names of fields that a setting may map.
FIELDS = ('id', 'image', 'caption', 'prompt', 'questions')
# Records that are looked at to recognize a form.
_LOOKED_AT = 10


def open_rows(
  annotations: str,
  images: str = '',
  form: str = AUTO,
  fields: str = '',
  choice: str = 'first',
) -> rows.Rows:
  """Returns the records of a data set, in our field names.

  Args:
    annotations: file, folder, shards or dataset.
    images: folder of the images, or TFDS's data_dir; '' for the default of the
      form.
    form: of FORMS; AUTO recognizes it.
    fields: see `parse_fields`.
    choice: which of several captions is taken, see `coco_captions.CHOICES`.

  Raises:
    ValueError: the data set cannot be read, or has another form.
  """
  renamed = parse_fields(fields)
  if form == AUTO:
    form = _form_of_path(annotations)
  if form == 'tfds':
    return tfds_rows.TfdsRows(annotations, images, renamed, choice)
  if form == 'webdataset':
    records = webdataset.WebdatasetRows(
      shard_names.shards(annotations), shard_names.compressed(annotations)
    )
  else:
    records = _open_annotations(annotations, form, choice)
  if 'caption' not in renamed and isinstance(records, folder_rows.MetadataRows):
    records.check_captions()
  if not renamed:
    return records
  if 'image' in renamed:
    renamed['img_path'] = renamed.pop('image')
  return tables.RenamedRows(records, renamed)


def parse_fields(text: str) -> dict[str, str]:
  """Returns fields of a data set by our names.

  Args:
    text: e.g. 'caption=text,image=file'; '' for none.

  Raises:
    ValueError: the text has another form.
  """
  fields = {}
  for part in filter(None, text.split(',')):
    ours, mark, theirs = map(str.strip, part.partition('='))
    if ours not in FIELDS or not mark or not theirs:
      raise ValueError(
        f'fields must be pairs of {", ".join(FIELDS)} and a name, got {text!r};'
        ' write e.g. caption=text,image=file_name'
      )
    fields[ours] = theirs
  return fields


def _form_of_path(annotations) -> str:
  """Returns the form that a path shows, AUTO for a file of records."""
  if tfds_rows.is_dataset(annotations):
    return 'tfds'
  if shard_names.is_pattern(annotations):
    return 'webdataset'
  path = storage.path(annotations)
  if storage.is_folder(path):
    names = storage.list_names(path)
    shards = any(name.lower().endswith('.tar') for name in names)
    if shards and not image_listing.list_folder(path)[0]:
      return 'webdataset'
    return 'imagefolder'
  if storage.is_file(path) and tar_members.is_tar(path):
    return 'webdataset'
  return AUTO


def _open_annotations(annotations, form, choice) -> rows.Rows:
  """Returns the records of a folder or file."""
  path = storage.path(annotations)
  if storage.is_folder(path):
    if form not in (AUTO, 'imagefolder'):
      raise ValueError(
        f'annotations must be a file for the form {form}, got the folder {path}'
      )
    return folder_rows.open_folder(path)
  if path.suffix.lower() in ('.csv', '.tsv'):
    return folder_rows.MetadataRows(csv_rows.CsvRows(path), path.parent)
  if form == 'coco' or (
    form == AUTO and storage.is_file(path) and coco_captions.is_file(path)
  ):
    records = coco_captions.CocoRows(path, choice)
    records.folder = str(path.parent)
    return records
  records = json_rows.index_file(path)
  records.folder = str(path.parent)
  form = _form_of_records(records) if form == AUTO else form
  if form == 'imagefolder':
    return folder_rows.MetadataRows(records, path.parent)
  kinds = {'journeydb': journeydb.JourneyRows, 'llava': llava.LlavaRows}
  if form in kinds:
    folder, records = records.folder, kinds[form](records)
    records.folder = folder
  return records


def _form_of_records(records) -> str:
  """Returns the form that the first records have."""
  numbers = range(min(_LOOKED_AT, len(records)))
  values = [v for v in map(records.read, numbers) if isinstance(v, dict)]
  for value in itertools.islice(values, 1):
    if journeydb.is_record(value):
      return 'journeydb'
    if llava.is_record(value):
      return 'llava'
    if 'file_name' in value and value.keys().isdisjoint(('img_path', 'image')):
      return 'imagefolder'
  return 'records'
