"""A start of a job that is missing or no model is answered with the way on."""

import dataclasses

import pytest
import tiny_jobs
import tiny_world

import configs.pair_dpo
from conversions import convert
from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.runtime import terminal


def test_a_missing_model_is_named_with_the_way_to_get_it(world):
  config = tiny_jobs.converted_settings(world, init_from='nowhere')
  with pytest.raises(ValueError, match='no checkpoint at nowhere. how to get'):
    job_model.locate(config)


@pytest.mark.parametrize(
  'setting, way', [('tokenizer', 'convert magvitv2'), ('text', 'phi-1_5')]
)
def test_a_missing_tokenizer_is_named_with_the_way_to_get_it(
  world, setting, way
):
  """The set-up is named only for the folder that the set-up makes."""
  config = tiny_jobs.converted_settings(world, **{setting: 'nowhere'})
  wrong_name = f"{setting} must be .*{way}.*, got 'nowhere'.*check the name"
  with pytest.raises(ValueError, match=wrong_name):
    job_model.locate(config)
  no_setup = "got 'nowhere', which does not exist. This makes nowhere"
  config = dataclasses.replace(config, missing='This makes nowhere')
  with pytest.raises(ValueError, match=no_setup):
    job_model.locate(config)


@pytest.mark.parametrize('setting', ['tokenizer', 'text'])
def test_a_converted_model_needs_tokenizers(world, setting):
  config = tiny_jobs.converted_settings(world, **{setting: ''})
  with pytest.raises(ValueError, match=f"{setting} must be .* got ''"):
    job_model.locate(config)


@pytest.mark.parametrize('missing', ['', 'how to get it'])
@pytest.mark.parametrize('setting', ['tokenizer', 'text'])
def test_a_missing_tokenizer_beside_a_bundle_is_reported(
  world, setting, missing
):
  """Refused, a run whose folders are gone since could not resume."""
  config = tiny_jobs.converted_settings(
    world, init_from=str(world / 'base'), missing=missing
  )
  config = dataclasses.replace(config, **{setting: 'nowhere'})
  lines = []
  job_model.locate(config, terminal.Console(lines.append, lambda label: iter))
  assert lines == [
    f'{setting} nowhere does not exist: using that of {world / "base"}'
  ]


@pytest.mark.parametrize(
  'init_from, message',
  [
    ('', "init_from must be the folder of a model or run, got ''; give"),
    ('model_src', 'holds PyTorch weights; convert them with `python -m conve'),
  ],
)
def test_a_start_that_is_no_model_is_refused_with_the_way_on(
  world, init_from, message
):
  path = init_from and str(world / init_from)
  with pytest.raises(ValueError, match=message):
    job_model.locate(tiny_jobs.converted_settings(world, init_from=path))


@pytest.mark.parametrize('variant', ['show_o_256', 'show_o_512'])
def test_the_line_about_missing_weights_makes_what_is_wanted(variant):
  config = configs.pair_dpo.get_config(variant)
  commands = config.missing.split('python -m conversions.convert ')[1:]
  folders = {}
  for command in commands:
    kind, src, dst = command.replace(',', '').split()[:3]
    assert kind in convert.KINDS and src.startswith('showlab/')
    folders[kind] = dst
  assert folders == {'showo': config.init_from, 'magvitv2': config.tokenizer}
  assert config.text in config.missing


def test_a_damaged_bundle_is_not_taken_for_pytorch_weights(tmp_path):
  base = tmp_path / 'base'
  tiny_world.bundle(base)
  (base / 'config.json').write_text('{')
  with pytest.raises(ValueError, match='Expecting property name'):
    initial_model.open(base).config()
