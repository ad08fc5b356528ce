"""Jobs feed the CLIP variant with features of pixels."""

import dataclasses
import json

import curate_runs
import numpy as np
from PIL import Image
import pytest
import shared_folders
import tiny_jobs
import torch_weights

import configs.understand
from conversions import convert
from hermesflow_jax.data import record_files
from hermesflow_jax.jobs import understand
from hermesflow_jax.jobs.setup import vision_tower
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sequences import text_tokenizer

WIDTH = torch_weights.CLIP.width


def write(root):
  """Writes the converted variant with its tokenizers, tower and pictures."""
  root.mkdir(exist_ok=True)
  tiny_jobs.write_base(root, WIDTH)
  source = torch_weights.write(
    root / 'tower_src',
    torch_weights.arrays('clip_vision'),
    torch_weights.config('clip_vision'),
  )
  command = ['clip_vision', str(source), str(root / 'tower')]
  assert convert.main(command, terminal.silent()) == 0
  (root / 'pictures').mkdir()
  rng = np.random.default_rng(0)
  questions = [{'question': 'what ?', 'choices': ['a', 'b'], 'answer': 'a'}]
  lines = []
  for name in 'xyz':
    noise = rng.integers(0, 256, (90, 70, 3), np.uint8)
    Image.fromarray(noise).save(root / 'pictures' / f'{name}.png')
    lines.append(
      {
        'id': name,
        'img_path': f'{name}.png',
        'caption': f'a {name}',
        'questions': [q | {'element_type': 'other'} for q in questions],
      }
    )
  text = '\n'.join(map(json.dumps, lines))
  (root / 'inputs.jsonl').write_text(text + '\n')


@pytest.fixture(scope='session')
def variant(tmp_path_factory):
  return shared_folders.make_once(tmp_path_factory, 'variant', write)


def parts(root, **changes):
  """Returns the settings of the model."""
  return {
    'init_from': str(root / 'model'),
    'tokenizer': str(root / 'images'),
    'text': str(root / 'text' / 'tokenizer.json'),
    'vision': str(root / 'tower'),
  } | changes


def sizes_of(config):
  """Returns settings with the sizes of `tiny_jobs`."""
  sizes = tiny_jobs.sizes_with(text_tokenizer.load(config.text))
  return dataclasses.replace(config, sizes=sizes)


def understanding(root, **changes):
  config = tiny_jobs.configured(
    understand,
    configs.understand,
    root / 'model',
    images=(str(root / 'pictures'),),
    questions=('what ?',),
    choices=('a', 'b'),
  )
  return sizes_of(dataclasses.replace(config, **parts(root, **changes)))


def test_understand_reads_pixels_and_not_codes(variant, tmp_path, monkeypatch):
  monkeypatch.setattr(
    understand.unified_model.UnifiedModel,
    'encode',
    lambda *arguments: pytest.fail('images were encoded'),
  )
  rows = understand.run(
    understanding(variant), str(tmp_path / 'run'), terminal.silent()
  )
  assert [row['answers']['what ?'] in 'ab' for row in rows] == [True] * 3
  assert all('caption' in row for row in rows)
  claimed = json.loads((tmp_path / 'run' / 'settings.json').read_text())
  assert 'vision/model.safetensors' in claimed['base']


def test_curate_makes_pairs_with_the_tower(variant, tmp_path, monkeypatch):
  def draw(self, names, captions, candidates, sampler, seed):
    shape = len(names), candidates, tiny_jobs.GRID[0] * tiny_jobs.GRID[1]
    return np.random.default_rng(seed).integers(0, 32, shape)

  monkeypatch.setattr(
    curate_runs.curate.unified_model.UnifiedModel, 'draw', draw
  )
  config = curate_runs.configured(variant / 'model', inputs=3)
  source = record_files.Source(
    str(variant / 'inputs.jsonl'), str(variant / 'pictures'), '', 'raise'
  )
  config = dataclasses.replace(
    config, files=source, image_scorer='caption_likelihood', **parts(variant)
  )
  manifest = curate_runs.curate.run(
    sizes_of(config), str(tmp_path / 'run'), terminal.silent()
  )
  assert manifest['drops']['image']['kept'] >= 1
  assert len(curate_runs.rows_of(tmp_path / 'run')) == 3


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'vision': ''}, "got ''; run `python -m conversions.convert clip_vision "),
    ({'vision': 'nowhere'}, "vision must be the CLIP tower of .*'nowhere'"),
  ],
)
def test_a_missing_tower_is_named_with_its_command(
  variant, tmp_path, changes, message
):
  with pytest.raises(ValueError, match=message):
    understand.run(
      understanding(variant, **changes),
      str(tmp_path / 'run'),
      terminal.silent(),
    )
  assert not (tmp_path / 'run').exists()


def test_a_tower_that_does_not_fit_is_refused(variant):
  config = understanding(variant)
  for width, message in (
    (0, "vision must be '' for"),
    (8, 'must have width 8'),
  ):
    model = dataclasses.replace(torch_weights.WITH_CLIP, clip_width=width)
    with pytest.raises(ValueError, match=message):
      vision_tower.check(config, 'model', model)
