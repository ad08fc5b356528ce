"""Fine-tuning on data sets of a user."""

import dataclasses
import json
import types

import fine_tune_runs
import jax
import numpy as np
import pytest
import tiny_world
import unread_models

import configs.pretrain
from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.data import task_sources
from hermesflow_jax.jobs import compile_for
from hermesflow_jax.jobs import fine_tune
from hermesflow_jax.jobs.setup import new_model
from hermesflow_jax.models import magvit
from hermesflow_jax.models import phi
from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import interrupts
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.training import preview_images

SAMPLER = {'steps': 2, 'guidance': 0.0}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  folder = tmp_path_factory.mktemp('data')
  return tiny_world.files(folder, 'preference', 8)


@pytest.fixture(scope='module')
def tuned(base, data, tmp_path_factory):
  """The folder of a run that nothing stopped, and its settings."""
  folder = tmp_path_factory.mktemp('tuned') / 'run'
  config = fine_tune_runs.configured(base, data)
  fine_tune.run(config, str(folder), terminal.silent())
  return folder, config


def metrics(folder):
  lines = (folder / 'training' / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def test_all_losses_fall(tuned):
  rows = metrics(tuned[0])
  assert len(rows) == fine_tune_runs.STEPS
  for task in ('t2i', 'mmu', 'lm'):
    assert rows[-1][f'loss/{task}'] < 0.95 * rows[0][f'loss/{task}']


def test_its_model_is_a_start_of_other_jobs(tuned, base):
  folder, _ = tuned
  opened = initial_model.open(folder)
  assert opened.has_tokenizers and opened.path.endswith('model')
  first = initial_model.open(base)
  assert opened.config() == first.config()
  parts = opened.load(None, None)
  assert parts.grid == first.load(None, None).grid
  results = json.loads((folder / 'results.json').read_text())
  assert results['examples'] == {'t2i': 8, 'mmu': 8, 'lm': 8}
  assert trained_model.read_record(str(folder / 'model')).notes['steps'] == 6


def test_a_stopped_run_ends_like_one_that_nothing_stopped(
  tuned, tmp_path, monkeypatch
):
  folder, config = tuned
  stops = iter([False, False, True])
  with monkeypatch.context() as patch:
    patch.setattr(
      interrupts.StopSignal, '__call__', lambda self: next(stops, False)
    )
    with pytest.raises(interrupts.Stopped):
      fine_tune.run(config, str(tmp_path / 'run'), terminal.silent())
  fine_tune.run(config, str(tmp_path / 'run'), terminal.silent())
  arrays = [
    trained_model.read_record(str(root / 'model')).sha256
    for root in (folder, tmp_path / 'run')
  ]
  assert arrays[0] == arrays[1]


def test_the_first_step_is_the_same_on_another_mesh_and_in_parts(
  tuned, base, data, tmp_path, monkeypatch
):
  monkeypatch.setattr(jax, 'device_count', lambda: 1)
  config = fine_tune_runs.configured(base, data, mesh={'data': 1, 'model': 1})
  optim = dataclasses.replace(config.optim, steps=1, accumulate=2)
  config = dataclasses.replace(config, optim=optim)
  fine_tune.run(config, str(tmp_path / 'run'), terminal.silent())
  first, other = metrics(tuned[0])[0], metrics(tmp_path / 'run')[0]
  for name in ('loss/t2i', 'loss/mmu', 'loss/lm', 'train/grad_norm'):
    # Sums have another order.
    np.testing.assert_allclose(other[name], first[name], rtol=1e-4)


@pytest.fixture(scope='module')
def measured(base, data, tmp_path_factory):
  """The folder of a run that measures, and was stopped after step 3."""
  folder = tmp_path_factory.mktemp('measured') / 'run'
  config = fine_tune_runs.configured(
    base,
    data,
    held_out={'share': 0.25},
    previews={
      'prompts': ('a red circle',),
      'images_per_prompt': 1,
      'sampler': SAMPLER,
    },
    measure_every=2,
  )
  stops = iter([False, False, True])
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
      interrupts.StopSignal, '__call__', lambda self: next(stops, False)
    )
    with pytest.raises(interrupts.Stopped):
      fine_tune.run(config, str(folder), terminal.silent())
  results = fine_tune.run(config, str(folder), terminal.silent())
  return folder, results


def test_held_out_losses_are_measured_before_and_during_training(measured):
  folder, results = measured
  history = [row for row in metrics(folder) if 'held_out/total' in row]
  assert [row['step'] for row in history] == [0, 2, 4, 6]
  for row in history:
    assert row['held_out/total'] == pytest.approx(
      row['held_out/t2i'] + row['held_out/mmu'] + 0.1 * row['held_out/lm']
    )
  assert history[-1]['held_out/mmu'] < history[0]['held_out/mmu']
  assert results['examples'] == {'t2i': 6, 'mmu': 6, 'lm': 6}
  values = results['held_out']
  assert values['examples'] == {'t2i': 2, 'mmu': 2, 'lm': 2}
  totals = [row['held_out/total'] for row in history]
  assert values['best']['total'] == min(totals)
  assert values['first']['total'] == totals[0]
  assert values['last']['total'] == totals[-1]


def test_prompts_are_drawn_at_every_measurement(measured):
  folder, _ = measured
  sheets = sorted(path.stem for path in (folder / 'previews').glob('*.png'))
  assert sheets == ['000000', '000002', '000004', '000006']
  images = preview_images.read_images(folder / 'previews', 2, 1)
  assert [step for step, _ in images] == [0, 6]
  page = (folder / 'report.html').read_text()
  assert 'a red circle' in page and 'held-out rows' in page
  assert page.count('data:image/png') == 4


def test_a_run_that_measures_nothing_costs_and_writes_nothing(tuned):
  folder, _ = tuned
  assert not (folder / 'previews').exists()
  assert 'held_out' not in json.loads((folder / 'results.json').read_text())
  assert 'held-out' not in (folder / 'report.html').read_text()


def test_old_checkpoints_have_the_identity_of_no_measurement(base, data):
  values = settings.to_json_types(fine_tune_runs.configured(base, data))
  expected = identities.identity_of(fine_tune.Settings, values, 'content')
  for name in ('held_out', 'previews', 'measure_every'):
    del values[name]
  assert (
    identities.identity_of(fine_tune.Settings, values, 'content') == expected
  )


@pytest.mark.parametrize(
  'held_out, error',
  [
    ({'share': 0.6}, 'held_out.share must be between 0 and 0.5, got 0.6'),
    ({'lm': ({'annotations': 'a.txt'},)}, 'held_out.t2i must have a data set'),
  ],
)
def test_unusable_held_out_settings_are_named(base, data, held_out, error):
  with pytest.raises(ValueError, match=error):
    fine_tune_runs.configured(base, data, held_out=held_out)


def test_a_finished_run_is_not_run_again(tuned, monkeypatch):
  folder, config = tuned
  unread_models.refuse_reading(monkeypatch)
  monkeypatch.setattr(fine_tune.fine_tuning, 'train', None)
  before = json.loads((folder / 'results.json').read_text())
  assert fine_tune.run(config, str(folder), terminal.silent()) == before


@pytest.mark.parametrize(
  'changes, error',
  [
    ({'init_from': ''}, 'init_from must be the folder of a model'),
    ({'t2i': ()}, 't2i must have a data set, got none'),
    (
      {'batches': {'t2i': 8, 'mmu': 8, 'lm': 2}},
      'batch must split over data=4',
    ),
  ],
)
def test_a_mistake_is_a_line(base, data, tmp_path, idle, changes, error):
  with pytest.raises(ValueError, match=error):
    config = fine_tune_runs.configured(base, data, **changes)
    fine_tune.run(config, str(tmp_path / 'run'), terminal.silent())
  assert not (tmp_path / 'run').exists()


def test_a_new_model_knows_the_words_of_its_data(base):
  tokenizer = initial_model.open(base).load_tokenizer(None)
  sizes = new_model.NewModel(
    phi.PhiConfig(width=8, layers=1, heads=2, mlp=8),
    token_rows.Lengths(8, 100, 90, 8, 8),
    128,
  )
  text = new_model.make_text(['Grinning face', 'a face: big'])
  parts = new_model.make_bundle(sizes, tokenizer, text, 0)
  assert isinstance(parts.tokenizer, magvit.Magvit)
  assert not parts.text.unknown_words(['grinning a big face :'])
  assert parts.grid == (8, 8) and parts.model.config.image_tokens == 64
  with pytest.raises(ValueError, match='a multiple of 16, got 100'):
    new_model.make_bundle(
      dataclasses.replace(sizes, pixels=100), tokenizer, text, 0
    )


@pytest.mark.parametrize('variant', ['show_o_256', 'show_o_512'])
def test_show_o_variants_build_and_count_what_a_run_needs(variant):
  values = configs.pretrain.get_config(variant)
  del values.job
  config = settings.build(fine_tune.Settings, values.to_dict())
  assert config.sizes.transformer.image_tokens == {
    'show_o_256': 256, 'show_o_512': 1024
  }[variant]  # fmt: skip
  assert compile_for.expected_programs(config) == {
    'rows': 10_000 * 192, 'images': 10_000 * 128
  }  # fmt: skip


def test_the_programs_of_a_slice_are_lowered(base, data):
  parts = initial_model.open(base).load(None, None)
  config = dataclasses.replace(
    fine_tune_runs.configured(base, data),
    sizes=types.SimpleNamespace(
      vocab=parts.model.config.vocab,
      decoder=parts.model.config.decoder,
      tokenizer=parts.tokenizer.config,
      lengths=parts.lengths,
      grid=parts.grid,
      transformer=parts.model.config,
    ),
  )
  mesh = config.mesh.make(8)
  for program in (
    compile_for.fine_tuning_program(config, mesh),
    compile_for.encoder_program(config, mesh),
  ):
    assert program.call.lower(*program.arguments) is not None
  assert program.per == ('images', 8)


def test_the_faults_of_all_tasks_are_named_together(tmp_path):
  for name in 'abc':
    (tmp_path / f'{name}.jsonl').write_text('{\n')
  images = [task_sources.ImageSet(str(tmp_path / f'{n}.jsonl')) for n in 'ab']
  config = types.SimpleNamespace(
    t2i=images[:1],
    mmu=images[1:],
    lm=[task_sources.TextSet(str(tmp_path / 'c.jsonl'))],
  )
  with pytest.raises(ValueError, match='a.jsonl: .*b.jsonl: .*c.jsonl: '):
    fine_tune.open_sources(config, terminal.silent())
