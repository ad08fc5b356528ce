"""Captions of the images of a data set."""

import dataclasses

import data_forms

import configs.understand
from hermesflow_jax.jobs import understand
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal


def run(base, folder, **changes):
  config = configs.understand.get_config()
  del config.job
  config.update({'init_from': str(base)} | changes)
  built = settings.build(understand.Settings, config.to_dict())
  return understand.run(built, str(folder), terminal.silent())


def test_images_of_shards_have_ids_and_the_captions_of_files(base, tmp_path):
  data_forms.text_files(tmp_path)
  shards = data_forms.webdataset(tmp_path)
  plain = run(base, tmp_path / 'a', images=(str(tmp_path / 'set'),))
  rows = run(base, tmp_path / 'b', images=(), files=dataclasses.asdict(shards))
  for number, (row, expected) in enumerate(zip(rows, plain, strict=True)):
    assert row['id'] == data_forms.IDS[number]
    assert row['true_caption'] == data_forms.CAPTIONS[number]
    assert row['image'].endswith(f'.tar/{data_forms.IDS[number]}.jpg')
    # Random keys derive from the name of an image, but greedy captions do not.
    assert row['caption'] == expected['caption']
