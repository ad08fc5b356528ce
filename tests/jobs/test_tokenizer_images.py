"""The image tokenizer learns from images of a user."""

import dataclasses
import json

import numpy as np
from PIL import Image
import pytest

import configs.tokenizer
from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.jobs import tokenizer
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
  """A folder of 12 pictures, two of them in a folder inside."""
  folder = tmp_path_factory.mktemp('pictures')
  (folder / 'more').mkdir()
  rng = np.random.default_rng(0)
  for number in range(12):
    name = f'more/{number}.png' if number > 9 else f'{number}.png'
    pixels = rng.integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(folder / name)
  return folder


def configured(base, pictures, export, **changes):
  values = configs.tokenizer.get_config()
  del values.job
  values.update(
    {
      'images': (str(pictures),),
      'pixels': 32,
      'init_from': str(base),
      'export': str(export),
    }
  )
  values.optim.steps = 2
  values.schedule.update({'batch': 8, 'log_every': 1})
  values.update(changes)
  return settings.build(tokenizer.Settings, values.to_dict())


def test_it_learns_from_a_folder_and_an_existing_tokenizer(
  base, pictures, tmp_path
):
  config = configured(base, pictures, tmp_path / 'export')
  results = tokenizer.run(config, str(tmp_path / 'run'), terminal.silent())
  scores = results['sets']['held_out']
  assert scores['images'] == 2 and scores['codes'] > 0
  assert np.isfinite(scores['psnr'])
  before, after = (
    initial_model.open(folder).load_tokenizer(None)
    for folder in (base, tmp_path / 'export')
  )
  assert before.config == after.config
  lines = (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()
  assert [json.loads(line)['step'] for line in lines] == [1, 2]
  with Image.open(tmp_path / 'run' / 'reconstructions.png') as sheet:
    assert sheet.size == (64, 64)  # Two pictures above their reconstructions.


@pytest.mark.parametrize(
  'changes, error',
  [
    ({'pixels': 40}, 'pixels must be a multiple of 16, got 40'),
    ({'init_from': 'nowhere'}, 'no checkpoint at nowhere'),
    ({'images': ('nowhere',)}, 'nowhere'),
  ],
)
def test_a_mistake_is_a_line(base, pictures, tmp_path, changes, error):
  config = configured(base, pictures, tmp_path / 'export')
  config = dataclasses.replace(config, **changes)
  with pytest.raises(ValueError, match=error):
    tokenizer.run(config, str(tmp_path / 'run'), terminal.silent())
  assert not (tmp_path / 'run').exists()


def test_images_are_named_once(base, pictures, tmp_path):
  files = {'annotations': str(pictures)}
  with pytest.raises(ValueError, match=r'images must be \(\) with files'):
    values = configured(base, pictures, tmp_path)
    settings.with_changes(values, {'files': files})
