"""Frechet distance of drawings, with a small network in Inception's place."""

import jax
import numpy as np
from PIL import Image
import pytest

from hermesflow_jax.benchmarks import coco
from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import converted_model
from hermesflow_jax.evaluation import frechet
from hermesflow_jax.evaluation import frechet_files
from hermesflow_jax.jobs.setup import drawing_measures
from hermesflow_jax.jobs.setup import measure_settings
from hermesflow_jax.runtime import sharding
from hermesflow_jax.scoring import encoder_settings


class Record:
  """The record of a converted model."""

  def __init__(self):
    self.sha256 = {'w': 'a'}


def network(images):
  """Returns the mean color of quarters as features."""
  n, side = images.shape[0], 298
  blocks = images[:, :side, :side].reshape(n, 2, side // 2, 2, side // 2, 3)
  return (blocks.mean((2, 4)).reshape(n, -1)[:, :4],)


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
  monkeypatch.setattr(checkpoint, 'is_checkpoint', lambda path: True)
  monkeypatch.setattr(converted_model, 'read_record', lambda *_: Record())
  monkeypatch.setattr(
    converted_model, 'restore_model', lambda *_: jax.tree_util.Partial(network)
  )


@pytest.fixture
def rows(tmp_path):
  """Six captions with real images of several sizes, and equal drawings."""
  rng = np.random.default_rng(0)
  lines = ['id,image_id,caption']
  for n in range(6):
    size = 40 + 2 * (n % 2)
    pixels = rng.integers(0, 256, (size, size, 3), np.uint8)
    image = Image.fromarray(pixels).resize((size, size))
    image.save(tmp_path / f'COCO_val2014_{n:012d}.jpg', 'PNG')
    # Drawings have one size.
    drawing = image.resize((40, 40), Image.Resampling.BICUBIC)
    drawing.save(tmp_path / f'{n}.png')
    lines.append(f'{n},{n},caption {n}')
  path = tmp_path / 'captions.csv'
  path.write_text('\n'.join(lines))
  files = protocol.BenchmarkFiles(str(path), str(tmp_path))
  return coco.Coco().read(files).rows


ENCODERS = encoder_settings.EncoderSettings()
CONFIG = measure_settings.MeasureSettings(inception='inception')


def test_equal_images_are_near_and_others_far(rows, tmp_path):
  mesh = sharding.make_mesh()
  (near,) = drawing_measures.measure(CONFIG, ENCODERS, rows, tmp_path, mesh)
  for row in rows:
    Image.new('RGB', (40, 40), 'white').save(tmp_path / row.files[0])
  (far,) = drawing_measures.measure(CONFIG, ENCODERS, rows, tmp_path, mesh)
  assert 0 <= near.headline < 0.01 < 1 < far.headline
  assert '6 drawings against the real images' in near.notes[0]


def test_a_file_of_statistics_takes_the_place_of_real_images(rows, tmp_path):
  path = tmp_path / 'real.npz'
  mean = np.full(4, 2.0)
  frechet_files.write_statistics(
    str(path), frechet.Statistics(mean, np.zeros((4, 4)))
  )
  for row in rows:
    Image.new('RGB', (40, 40), 'white').save(tmp_path / row.files[0])
  config = measure_settings.MeasureSettings(
    inception='inception', reference=str(path)
  )
  (scores,) = drawing_measures.measure(
    config, ENCODERS, rows, tmp_path, sharding.make_mesh()
  )
  # White is 1 in every feature: the means differ by 1 in each of 4.
  assert scores.headline == pytest.approx(4, abs=1e-4)


def test_what_is_missing_is_named_before_work(rows, monkeypatch):
  with pytest.raises(ValueError, match='conversions.convert clip'):
    drawing_measures.check(
      measure_settings.MeasureSettings(clip=True),
      encoder_settings.EncoderSettings(clip=''),
      rows,
    )
  without = [protocol.DrawingPrompt('a', 'a', ('a.png',))]
  with pytest.raises(ValueError, match='reference must be an npz file'):
    drawing_measures.check(CONFIG, ENCODERS, without)
  monkeypatch.setattr(checkpoint, 'is_checkpoint', lambda path: False)
  with pytest.raises(ValueError, match='conversions.convert inception'):
    drawing_measures.check(CONFIG, ENCODERS, rows)
  with pytest.raises(ValueError, match='reference must be given with another'):
    measure_settings.MeasureSettings(preparation='clean_fid')


def test_captions_of_coco_are_the_same_in_every_run(tmp_path, monkeypatch):
  monkeypatch.setattr(coco, '_COUNT', 3)
  annotations = [
    {'image_id': n % 5, 'caption': f'caption {n}'} for n in range(10)
  ]
  path = tmp_path / 'captions_val2014.json'
  path.write_text(str({'annotations': annotations}).replace("'", '"'))
  content = coco.Coco().read(protocol.BenchmarkFiles(str(path)))
  assert [row.id for row in content.rows] == ['0', '3', '4']
  assert [row.prompt for row in content.rows] == [
    'caption 0',
    'caption 3',
    'caption 4',
  ]
  assert 'seed 0' in content.notes[0]
