"""Readers of data sets of strangers, of which one file is damaged."""

import data_forms

from hermesflow_jax.data import image_reader
from hermesflow_jax.data import record_files

# Form, file that is damaged, folder of the images.
FORMS = {
  'COCO': ('coco', 'captions_val2017.json', 'val2017'),
  'JourneyDB': ('journeydb', 'train_anno.jsonl', 'imgs'),
  'LLaVA turns': ('llava', 'mix.json', 'data'),
  'tar shard': ('webdataset', '00000.tar', ''),
  'image table': ('imagefolder csv', 'metadata.csv', 'train'),
}


def reader_of(form: str, file: str, images: str):
  """Returns (file, function that writes it, function that reads the set)."""

  def write(folder):
    valid = folder / 'valid'
    valid.mkdir(exist_ok=True)
    data_forms.FORMS[form](valid)
    (folder / file).write_bytes(next(valid.rglob(file)).read_bytes())

  def read(folder):
    source = record_files.Source(
      str(folder / file), str(folder / 'valid' / images), on_error='skip'
    )
    for example in record_files.open_records(source, needs_questions=False):
      image_reader.header_fault(example['path'])

  return file, write, read
