"""Overrides, flags and commands reach the settings of a job."""

import pathlib

import command_line
import pytest

from hermesflow_jax.experiments import ablation
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.runtime import settings
import main


def test_a_comparison_has_a_folder_of_its_own_and_says_what_started_it(
  start, monkeypatch
):
  """Two variants in one folder would be taken for one run that changed."""
  seen = []
  monkeypatch.setattr(
    ablation,
    'run',
    lambda config, workdir, _: seen.append((config.command, workdir)),
  )
  config = f'--config={command_line.ROOT}/configs/ablation.py'
  for arguments in ([config], [f'{config}:beta', '--config.seeds=(5,)']):
    assert start(*arguments) == (0, '')
  assert seen == [
    (f'python main.py {config}', 'runs/ablation/table5'),
    (
      f"python main.py {config}:beta '--config.seeds=(5,)'",
      'runs/ablation/beta',
    ),
  ]


@pytest.mark.parametrize(
  'config',
  [
    'configs/pair_dpo.py',
    'configs/pair_dpo.py:show_o_512',
    'configs/seeds.py',
    'configs/curate.py',
  ],
)
def test_a_job_knows_the_command_that_started_it(start, monkeypatch, config):
  """report.html of `:show_o_512` named the embedded variant."""
  seen = []
  job = main.job_of(pathlib.Path(config.split(':')[0]).stem)
  monkeypatch.setattr(
    job, 'run', lambda config, workdir, console: seen.append(console.command)
  )
  flags = [f'--config={command_line.ROOT}/{config}', '--workdir=a b']
  assert start(*flags) == (0, '')
  assert seen == [f"python main.py {flags[0]} '--workdir=a b'"]


def test_advice_of_a_job_names_the_program_that_was_started(monkeypatch, capfd):
  job = main.job_of('judge')
  text = 'then run python main.py --config=configs/judge.py:import'
  monkeypatch.setattr(
    job, 'run', lambda config, workdir, console: console.say(text)
  )
  assert main.main(['hermesflow', 'judge']) == 0
  assert 'then run hermesflow judge:import' in ''.join(capfd.readouterr())


def test_help_shows_the_flags(start, capfd):
  with pytest.raises(SystemExit) as stop:
    main.main(['main.py', '--help'])
  assert stop.value.code == 0
  assert '--workdir' in capfd.readouterr().out


def test_overrides_reach_the_settings():
  values, given, _ = main.options(
    [
      'main.py',
      command_line.CONFIG,
      '--config.play.rounds=7',
      '--workdir=x',
      '--config.play.captions[1].top_k=5',
    ]
  )
  assert given.compile_for is None and given.coordinator is None
  assert values.pop('job') == 'pair_dpo'
  config = settings.build(pair_dpo.Settings, values)
  assert (config.play.rounds, given.workdir) == (7, 'x')
  assert config.play.captions[1].top_k == 5


@pytest.mark.parametrize('job', ['pair_dpo', 'generate'])
def test_sizes_with_several_numbers_are_given_by_flags(job):
  values, *_ = main.options(
    [
      'main.py',
      f'--config={command_line.ROOT}/configs/{job}.py:show_o_512',
      *(
        f'--config.sizes.tokenizer.{name}=(1,2)'
        for name in (
          'encoder_ch_mult',
          'decoder_ch_mult',
          'encoder_num_res_blocks',
          'decoder_num_res_blocks',
        )
      ),
      '--config.sizes.grid=(4,8)',
    ]
  )
  assert values.pop('job') == job
  config = settings.build(main.job_of(job).Settings, values)
  actual = config.sizes.tokenizer
  assert actual.encoder_ch_mult == actual.decoder_num_res_blocks == (1, 2)
  assert config.sizes.grid == (4, 8)


def test_a_device_for_each_core_up_to_eight():
  counts = {cores: main.cpu_devices(cores) for cores in (1, 2, 3, 4, 7, 64)}
  assert counts == {1: 1, 2: 2, 3: 2, 4: 4, 7: 4, 64: 8}
