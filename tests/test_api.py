"""Calls for programs: docs/api.md runs, and its calls keep their laws."""

import doctest
import importlib
import pathlib
import re

import jax
import looped_layers
import numpy as np
import pytest

from configs import pair_dpo
from hermesflow_jax.data import input_set
from hermesflow_jax.library import model_loading
from hermesflow_jax.library import pair_training
from hermesflow_jax.library import preference_data
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.runtime import settings
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.training import adamw

ROOT = pathlib.Path(__file__).parents[1]
QUESTION = {
  'question': 'what color is the ring ?',
  'choices': ['red', 'blue'],
  'answer': 'red',
  'element_type': 'color',
}


@pytest.fixture(scope='module', autouse=True)
def loops():
  """Compiles loops over layers in place of copies."""
  with pytest.MonkeyPatch.context() as patch:
    looped_layers.loop_layers(patch)
    yield


@pytest.fixture(scope='module')
def model():
  return model_loading.load_model('assets:shapes')


@pytest.fixture(scope='module')
def page(tmp_path_factory):
  """The names that the examples of docs/api.md define, run in order."""
  names = {}
  text = (ROOT / 'docs' / 'api.md').read_text()
  blocks = re.findall(r'^```python\n(.*?)^```', text, re.M | re.S)
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(tmp_path_factory.mktemp('api'))
    for block in blocks:
      exec(compile(block, 'docs/api.md', 'exec'), names)
  return names


@pytest.fixture(scope='module')
def records(page):
  """Three records, so that devices are left over.

  Those of the page: other lengths would be other programs.
  """
  records = page['curated'].records
  assert len(records) == 3
  return [
    record
    | {'caption_dropped': '' if n else 'no difference', 'image_dropped': ''}
    for n, record in enumerate(records)
  ]


def test_the_examples_draw_and_see_a_red_ring(page):
  assert page['codes'].shape == (1, 2, 16)
  assert (page['images'].shape, page['images'].dtype) == (
    (2, 64, 64, 3),
    np.uint8,
  )
  assert 'ring' in page['captions'][0][0]
  assert page['answers'] == [['red']]
  assert page['replies'] == [[['one']]]
  assert page['same_codes'].shape == (1, 16)


def test_the_examples_learn_from_pairs(page):
  curated, count = page['curated'], len(page['curated'].records)
  assert curated.candidates.codes.shape == (4, 2, 16)
  assert set(curated.pairs) == {'0', '1', '2', '3'}
  assert page['logps'].mmu.shape == page['logps'].t2i.shape == (count, 2)
  assert len(page['metrics']) == 1
  kept = [not record['caption_dropped'] for record in curated.records]
  assert page['margins'][np.array(kept)].mean() > 0
  assert {'understanding', 'generation', 'gap', 'gap_se'} <= set(page['scores'])


def test_the_page_takes_settings_from_the_main_config(page):
  objective = page['objective']
  assert (objective.beta, objective.masks, objective.gen_sft_weight) == (
    2.0,
    4,
    2.0,
  )
  assert page['rules'].both
  assert page['optim'].steps == 100


def test_the_default_objective_is_that_of_show_o():
  play = pair_dpo.get_config('show_o_512').play.to_dict()
  objective = settings.build(
    objective_config.ObjectiveConfig, play['objective']
  )
  assert objective == objective_config.ObjectiveConfig()


def test_records_that_fill_up_a_device_count_nothing(model, records):
  first = pair_training.score_pairs(model, records)
  again = pair_training.score_pairs(model, [*records, *records[:2]])
  assert first.mmu.shape == (3, 2)
  np.testing.assert_allclose(again.mmu[:3], first.mmu, atol=1e-4)
  _, (metrics,) = train(model, records, steps=1)
  assert (metrics['und/pairs'], metrics['gen/pairs']) == (2, 3)


def train(model, records, steps):
  return pair_training.train(
    model,
    records,
    objective_config.ObjectiveConfig(beta=2.0),
    adamw.AdamWConfig(lr=1e-4, steps=steps, warmup=0.0),
  )


def test_training_leaves_the_given_model_alone(model, records):
  before = jax.tree.map(np.asarray, jax.tree.leaves(model.model))
  trained, metrics = train(model, records, steps=3)
  assert len(metrics) == 3
  assert metrics[0]['train/loss'] == pytest.approx(2 * np.log(2), abs=1e-5)
  assert metrics[-1]['train/loss'] < metrics[0]['train/loss']
  for old, new in zip(before, jax.tree.leaves(model.model)):
    np.testing.assert_array_equal(old, new)
  assert trained.text is model.text


def test_a_model_that_is_missing_is_named():
  with pytest.raises(ValueError, match='path must name a model, got assets:no'):
    model_loading.load_model('assets:nowhere')


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'captions': []}, 'must have one length'),
    (
      {'ids': ['a', 'a'], 'images': np.zeros((2, 64, 64, 3), np.uint8)},
      'one length',
    ),
    ({'questions': [[]]}, 'questions must not be empty'),
    (
      {'questions': [[QUESTION | {'answer': 'green'}]]},
      'answer must be one of',
    ),
  ],
)
def test_inputs_with_faults_are_refused(model, changes, message):
  values = {
    'images': np.zeros((1, 64, 64, 3), np.uint8),
    'captions': ['a ring'],
    'questions': [[QUESTION]],
  }
  with pytest.raises(ValueError, match=message):
    preference_data.make_inputs(model, **(values | changes))


def test_no_pair_is_no_batch(model):
  with pytest.raises(ValueError, match='records must not be empty'):
    pair_training.score_pairs(model, [])


def test_examples_in_docstrings_are_right():
  attempted = 0
  for path in sorted((ROOT / 'hermesflow_jax').rglob('*.py')):
    if '>>>' in path.read_text():
      name = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
      result = doctest.testmod(importlib.import_module(name))
      assert result.failed == 0, name
      attempted += result.attempted
  assert attempted >= 20


@pytest.mark.parametrize(
  'seed', [-1, 2**32, True, 0.5, '0', np.float32(1), np.int64(-1), None]
)
def test_a_seed_that_jax_would_take_for_another_is_refused(
  model, records, seed
):
  sampler = maskgit.MaskGITSampler(2, 0.0)
  codes = np.zeros((1, 16), np.int32)
  inputs = input_set.Inputs(['a'], ['a ring'], [''], [[QUESTION]], codes)
  for call in (
    lambda: model.draw(['a'], ['a ring'], 1, sampler, seed),
    lambda: model.describe(['a'], codes, [batched.GREEDY], seed),
    lambda: pair_training.score_pairs(model, records, seed=seed),
    lambda: preference_data.curate(model, inputs, sampler=sampler, seed=seed),
    lambda: pair_training.train(
      model,
      records,
      objective_config.ObjectiveConfig(),
      adamw.AdamWConfig(lr=1e-4, steps=1),
      seed=seed,
    ),
  ):
    with pytest.raises(ValueError, match='seed must be an integer from 0 to'):
      call()


def test_integers_of_numpy_are_seeds():
  seeds = 7, np.int64(7), np.uint8(7), np.array(7)
  keys = [batched.identity_keys(seed, ['a'], 1) for seed in seeds]
  for key in keys[1:]:
    np.testing.assert_array_equal(key, keys[0])
  assert batched.identity_keys(2**32 - 1, ['a'], 1).shape == (1, 1, 2)
