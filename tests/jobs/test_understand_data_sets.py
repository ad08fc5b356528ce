"""Captions of the images of a data set."""

import dataclasses
import types

import data_forms
import pytest

import configs.understand
from hermesflow_jax.jobs import understand
from hermesflow_jax.jobs.setup import question_inputs
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


def test_the_policy_of_a_data_set_is_enough_for_its_images(tmp_path):
  source = data_forms.records(tmp_path)
  (tmp_path / 'images' / f'{data_forms.IDS[0]}.png').write_bytes(b'no image')
  lines = []

  def images(**changes):
    config = types.SimpleNamespace(
      questions=(),
      choices=(),
      files=dataclasses.replace(source, **changes),
      on_error='raise',
    )
    console = dataclasses.replace(terminal.silent(), say=lines.append)
    text = types.SimpleNamespace(unknown_words=lambda texts: [])
    model = types.SimpleNamespace(text=text)
    return question_inputs.read_inputs(config, model, console)[0]

  rest = [image.facts['id'] for image in images(on_error='skip')]
  assert rest == data_forms.IDS[1:]
  assert f'{data_forms.IDS[0]}.png' in ''.join(lines)
  with pytest.raises(ValueError, match='with --config.files.on_error=skip'):
    images()
