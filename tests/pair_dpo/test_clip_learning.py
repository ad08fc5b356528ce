"""A round of learning computes CLIP features from the pixels of its records."""

import dataclasses
import functools

import jax
import learn_runs
import numpy as np
import pytest
import tiny
import tiny_clip

from hermesflow_jax.data import lazy_images
from hermesflow_jax.models import clip_pixels
from hermesflow_jax.pair_dpo import learning
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import pair_log_likelihood
from hermesflow_jax.pair_dpo import record_rows
from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import terminal
from hermesflow_jax.training import resume
from hermesflow_jax.training import train_step

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (2, 12, 12, 3), np.uint8)
RECORDS = [
  {
    'id': name,
    'caption': 'red circle',
    'codes': RNG.integers(0, 16, tiny.IMAGE_TOKENS),
    'caption_win': 'two blue square',
    'caption_lose': 'one green',
    'caption_dropped': '',
    'codes_win': RNG.integers(0, 16, tiny.IMAGE_TOKENS),
    'codes_lose': RNG.integers(0, 16, tiny.IMAGE_TOKENS),
    'image_dropped': '',
  }
  for name in 'ab'
]


@pytest.fixture
def reads():
  """Numbers of the images that were read."""
  return []


GROUPS = [
  {
    'id': name,
    'caption': 'red circle',
    'codes': RNG.integers(0, 16, tiny.IMAGE_TOKENS),
    'captions': ['two blue square', 'one green', 'red'],
    'caption_rewards': np.array([1.0, 0.0, 0.5], np.float32),
    'caption_counts': np.array([1.0, 2.0, 1.0], np.float32),
    'caption_dropped': '',
  }
  for name in 'ab'
]


@pytest.fixture
def begin(monkeypatch, reads, tmp_path):
  """Returns (model, run) of a round on two records before its first step."""
  monkeypatch.setattr(train_step, 'make_step', lambda *args: args)
  runs = []

  def run_resumable(run):
    runs.append(run)
    return run.make_state()

  monkeypatch.setattr(resume, 'run_resumable', run_resumable)

  def read(number):
    reads.append(number)
    return PIXELS[number]

  def learn(records, config):
    unified = tiny_clip.unified_on(tiny_clip.show_o(jax.random.key(5)))
    learning.learn_round(
      unified,
      unified.model,
      records,
      config,
      1,
      tmp_path,
      1,
      terminal.silent(),
      images=lazy_images.LazyImages(
        [functools.partial(read, n) for n in range(2)]
      ),
    )
    return unified, runs[0]

  return learn


def test_the_reference_and_the_steps_read_the_features_of_each_image(
  begin, reads
):
  unified, run = begin(RECORDS, learn_runs.configured('', 'pairs', batch=2))
  # The reference reads each image once, before the first step.
  assert reads == [0, 1]
  batch = next(run.batches(0))
  loss, _, key, _, prepare, _ = run.step
  numbers = [int((PIXELS[1] == image).all()) for image in batch['pixels']]
  assert sorted(numbers) == [0, 1]

  @jax.jit
  def compute(model, constants, tower, pixels, rows, batch):
    features = clip_pixels.read_features(tower, pixels)
    rows = dataclasses.replace(rows, features=features)
    expected, _ = pair_log_likelihood.pair_logps(model, rows, None, 64)
    _, metrics = loss(model, constants, prepare(batch, key), key)
    return expected.mmu, metrics

  make_row = record_rows.make_transform(
    tiny.vocab(), tiny.text(), tiny.LENGTHS, 0.0, feature_count=9
  )
  rng = np.random.default_rng(0)
  rows = [make_row(RECORDS[n], rng)['packed'] for n in numbers]
  expected, metrics = compute(
    unified.model,
    run.constants,
    unified.vision,
    PIXELS[numbers],
    batching.stack(rows),
    batch,
  )
  np.testing.assert_allclose(batch['reference_mmu'], expected, atol=1e-4)
  # The model is its own reference, so no caption has gained.
  assert float(metrics['und/pairs']) == 2
  np.testing.assert_allclose(metrics['und/margin'], 0.0, atol=1e-5)


def test_the_captions_of_a_group_read_the_features_of_its_image(begin, reads):
  """Their ratios are 1, as the model drew them itself."""
  config = learn_runs.configured('', 'pairs', batch=2)
  objective = objective_config.ObjectiveConfig(
    method='grpo', gen_weight=0.0, group_part=2
  )
  unified, run = begin(GROUPS, dataclasses.replace(config, objective=objective))
  assert reads == [0, 1]
  loss, _, key, _, prepare, parts = run.step
  assert parts == 2

  @jax.jit
  def compute(model, constants, batch):
    return loss(model, constants, prepare(batch, key), key)[1]

  metrics = compute(unified.model, run.constants, next(run.batches(0)))
  assert metrics['und/groups'] == 2
  np.testing.assert_allclose(metrics['und/ratio'], 1.0, atol=1e-5)
  np.testing.assert_allclose(metrics['und/kl'], 0.0, atol=1e-6)
