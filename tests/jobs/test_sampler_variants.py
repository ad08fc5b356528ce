"""Samplers that `evaluate` compares on the same model and prompts."""

import pytest

import configs.evaluate
from hermesflow_jax.jobs import evaluate
from hermesflow_jax.jobs.setup import sampler_variants
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal


def settings_with(base, variants, **changes):
  config = configs.evaluate.get_config().to_dict()
  del config['job']
  config |= {'samplers': variants, 'init_from': str(base), 'rows': 2}
  config |= {'benchmarks': ('pope', 'tifa')}
  config['sampler']['steps'] = 2
  config |= changes
  return settings.build(evaluate.Settings, config)


def test_samplers_are_compared_like_models(base, tmp_path):
  variants = [
    {'name': 'one_step', 'changes': {'steps': 1}},
    {'name': 'late', 'changes': {'guided': [0.5, 1.0]}},
  ]
  console = terminal.Console(lambda line: None, lambda label: lambda x: x)
  config = settings_with(base, variants)
  results = evaluate.run(config, str(tmp_path / 'out'), console)
  name = results['models'][0]['name']
  assert [model['name'] for model in results['models']] == [
    name,
    f'{name}_one_step',
    f'{name}_late',
  ]
  assert results['models'][1]['sampler']['steps'] == 1
  tifa, pope = (results['benchmarks'][key] for key in ('tifa', 'pope'))
  assert list(tifa['decoder_passes'].values()) == [4, 2, 3]
  assert tifa['models'][f'{name}_late'][0]['change']['rows'] == 2
  # Replies depend on no image sampler.
  assert list(pope['models']) == [name]
  folder = tmp_path / 'out' / 'predictions' / f'{name}_late' / 'tifa'
  assert len(list((folder / 'images').glob('*.png'))) == 2


@pytest.mark.parametrize(
  'variants, fault',
  [
    (
      [{'name': 'a', 'changes': {'step': 1}}],
      "samplers.0..changes.step is not a setting, did you mean 'steps'",
    ),
    ([{'name': 'a/b', 'changes': {}}], 'name must be letters, digits'),
    ([{'name': 'a', 'changes': {}}] * 2, 'samplers must have different names'),
  ],
)
def test_samplers_that_do_not_fit_are_refused(variants, fault):
  with pytest.raises(ValueError, match=fault):
    settings_with('', variants)


def test_a_sampler_makes_no_model_of_another_name():
  with pytest.raises(ValueError, match='samplers must have names that make no'):
    sampler_variants.check_names(['a', 'a_b'], ['', 'b'])


def test_samplers_without_a_drawing_are_refused():
  with pytest.raises(ValueError, match="samplers must be .* got .'a'.; add"):
    settings_with('', [{'name': 'a', 'changes': {}}], benchmarks=('pope',))


def test_a_search_names_the_sampler_that_is_too_short():
  search = {'candidates': 2, 'stages': [{'steps': 1, 'keep': 0.5}]}
  variants = [{'name': 'short', 'changes': {'steps': 1}}]
  with pytest.raises(ValueError, match='samplers, short: search.stages.0..ste'):
    settings_with('', variants, search=search)
