"""The command as a newcomer types it: help, mistakes, its own name."""

import re

import pytest

from hermesflow_jax.command import command_flags
from hermesflow_jax.command import config_files
from hermesflow_jax.command import help_text
from hermesflow_jax.command import job_list
from hermesflow_jax.command import program
from hermesflow_jax.jobs import generate


@pytest.fixture
def say(capfd, monkeypatch, tmp_path):
  """Runs `hermesflow` in an empty folder: (exit code, output, errors)."""
  monkeypatch.chdir(tmp_path)

  def call(*arguments, name='/usr/bin/hermesflow'):
    capfd.readouterr()
    try:
      code = program.main([name, *arguments])
    except SystemExit as end:
      code = end.code
    return code, *capfd.readouterr()

  return call


def test_an_error_of_the_system_is_told_in_words(capfd):
  for error in (
    OSError(36, 'File name too long', 'x'),
    ValueError("x cannot be read: [Errno 36] File name too long: 'x'"),
  ):
    assert program.complain(error, 1, 'main.py') == 1
    line = capfd.readouterr().err
    assert line.endswith("File name too long: 'x'\n") and 'Errno' not in line


@pytest.mark.parametrize('form', ['--help', '-h', 'help'])
def test_help_lists_each_job_with_one_line(say, form):
  code, output, _ = say(form)
  assert code == 0
  for name, path in config_files.names().items():
    line = f'  {name:11} {config_files.summary(path)}\n'
    assert line in output
  assert re.search(r'^  convert +Converts checkpoints$', output, re.M)
  assert '--workdir' in output


@pytest.mark.parametrize(
  'arguments', [['generate', '--help'], ['help', 'generate:show_o_512']]
)
def test_help_of_a_job_shows_its_settings(say, arguments):
  code, output, _ = say(*arguments)
  assert code == 0
  assert output.startswith('Images for prompts')
  assert '--config.seed=0\n' in output
  assert 'hermesflow generate' in output and 'main.py' not in output


@pytest.mark.parametrize('columns', ['0', '20', 'x'])
@pytest.mark.parametrize('words', [['--help'], ['convert', '--help']])
def test_help_fits_every_terminal(say, monkeypatch, columns, words):
  monkeypatch.setenv('COLUMNS', columns)
  code, output, errors = say(*words)
  assert (code, errors) == (0, '')
  assert 'hermesflow' in output


def test_help_of_a_conversion_has_the_name_of_the_program(say):
  code, output, _ = say('convert', '--help')
  assert code == 0
  assert output.startswith('usage: hermesflow convert ')
  assert 'conversions' not in output


def test_a_conversion_fails_as_its_own_command(say):
  code, _, errors = say('convert', 'showo', 'nowhere', 'new')
  assert (code, errors) == (2, 'error: no file or folder at nowhere\n')


@pytest.mark.parametrize(
  'path, name',
  [
    ('/usr/bin/hermesflow', 'hermesflow'),
    ('C:/Scripts/hermesflow.exe', 'hermesflow'),
    ('/lib/hermesflow_jax/__main__.py', 'python -m hermesflow_jax'),
    ('main.py', 'python main.py'),
  ],
)
def test_a_run_is_told_apart_by_how_it_was_started(path, name):
  assert help_text.program_name(path) == name
  text = 'Run python main.py --config=configs/learn.py:x, then python -m '
  text = help_text.with_program(text + 'conversions.convert a', path)
  assert (text == f'Run {name} learn:x, then {name} convert a') == (
    path != 'main.py'
  )


def test_advice_names_the_command_that_was_typed(say):
  code, _, errors = say('generate:show_o_256')
  assert code == 2
  assert 'hermesflow convert showo showlab/show-o' in errors
  _, _, errors = say('generate:show_o_256', name='main.py')
  assert 'python -m conversions.convert showo showlab/show-o' in errors


@pytest.mark.parametrize(
  'arguments, output',
  [
    ([], '--config is missing; usage: hermesflow <job>[:<variant>]'),
    (['pair_dop'], 'did you mean pair_dpo?'),
    (['Pair-DPO'], 'did you mean pair_dpo?'),
    (['gen'], 'did you mean generate?'),
    (['pair_dpo', 'show_o_512'], 'a variant is pair_dpo:show_o_512'),
    (['pair_dpo', '--rounds=2'], 'did you mean --config.play.rounds?'),
    (['pair_dpo', '--play.rounds=2'], 'did you mean --config.play.rounds?'),
    (['pair_dpo', '--config.seed=1'], 'did you mean --config.play.seed?'),
    (
      [
        'curate',
        '--config.files.annotations=a.jsonl',
        '--config.files.images=d',
        '--config.mesh={"data": 1, "model": 1}',
        '--config.captions[1].top_k=5',
        '--config.play.images=2',
      ],
      '(config.play.images); did you mean --config.images?',
    ),
    (['pair_dpo', '--config.rounds=2'], 'did you mean --config.play.rounds?'),
    (['pair_dpo', '--config.play..rounds=2'], '--config.play.rounds?'),
    (['pair_dpo', '--config.a b=2'], 'no such setting (config.a b)'),
    (
      ['pair_dpo', '--config.play.captions[12].top_k=2'],
      'no such setting: list index out of range (config.play.captions[12]',
    ),
    (
      ['pair_dpo', '--config.official=maybe'],
      "config.official must be true or false, got 'maybe'",
    ),
    (
      ['pair_dpo', '--config.play.optim=3'],
      "config.play.optim must be a mapping, got '3'",
    ),
    (
      ['generate', '--config.prompts[5]=a'],
      'config.prompts must be set as a list, got its element [5]; give --config.',
    ),
    (
      ['generate', '--config.images_per_prompt=two'],
      "config.images_per_prompt must be int, got 'two'",
    ),
    (
      ['generate', '--config.prompts=a red ring, a blue ring'],
      'as in --config.prompts=\'["a red ring", "a blue ring"]\'',
    ),
    (
      ['pair_dpo', '--config.files.inputs.images=data/images'],
      'files.inputs.annotations is missing; config.files.held_out is missing',
    ),
    (
      ['pair_dpo', '--config.files.inputs.annotations=a.jsonl'],
      '--config.files.held_out.annotations and --config.files.held_out.images',
    ),
    (
      ['curate', '--config.files.annotation=a'],
      "config.files.annotation is not a setting, did you mean 'annotations'?",
    ),
    (
      ['curate', '--config.files=inputs.jsonl'],
      'write --config.files=\'{"annotations": ..., "images": ...,',
    ),
    (
      ['curate', '--config.files.images=a', '--config.files=None'],
      'config.files must not be given together with its part config.files.im',
    ),
    (['pair_dpo', '--config.files'], 'config.files must have a value'),
    (['pair_dpo', '--config.world=None'], 'config.world must be a mapping'),
  ],
)
def test_a_mistake_is_a_line_that_says_what_to_do(say, arguments, output):
  code, _, errors = say(*arguments)
  assert code == 2
  assert errors.startswith('error: ') and errors.count('\n') == 1
  assert output in errors


def read(*arguments):
  values, *_ = command_flags.read(['hermesflow', *arguments])
  job = job_list.import_job(values.pop('job'))
  return program.settings.build(job.Settings, values)


def test_own_data_is_given_by_flags():
  config = read(
    'curate',
    '--config.files.annotations=01.jsonl',
    '--config.files.images',
    'my images',
    '--config.files.on_error=skip',
  )
  assert config.files.annotations == '01.jsonl'
  assert config.files.images == 'my images'
  assert config.files.on_error == 'skip'


def test_a_mapping_is_given_at_once_in_json():
  text = '{"annotations": "a", "images": "b"}'
  assert read('curate', f'--config.files={text}').files.images == 'b'
  rules = '{"least_win": 0.5, "least_margin": 0.0, "both": false}'
  assert not read('curate', f'--config.rules={rules}').rules.both


def test_prompts_are_given_in_each_form():
  for flags in (
    ["--config.prompts=('a red ring', 'a dog')"],
    ['--config.prompts=["a red ring", "a dog"]'],
    ['--config.prompts', "'a red ring', 'a dog'"],
    ['--config.prompts=a red ring', '--config.prompts=a dog'],
  ):
    assert read('generate', *flags).prompts == ('a red ring', 'a dog')


@pytest.mark.parametrize(
  'flags, expected',
  [([], 7), (['--config.each=3'], 3), (['--config.images_per_prompt=3'], 3)],
)
def test_an_old_name_of_a_setting_works_and_is_told(
  say, monkeypatch, tmp_path, flags, expected
):
  """In a config of the user, and in flags, which come after it."""
  given = []
  monkeypatch.setattr(
    generate, 'run', lambda config, *others: given.append(config)
  )
  (tmp_path / 'own.py').write_text(
    'import configs.generate\n'
    'def get_config():\n'
    '  config = configs.generate.get_config()\n'
    '  config.each = 7\n'
    '  return config\n'
  )
  code, output, errors = say('--config=own.py', *flags)
  assert (code, errors) == (0, '')
  assert 'config.each is now called config.images_per_prompt\n' in output
  assert given[0].images_per_prompt == expected
  code, _, errors = say('generate', '--config.each=3', '--config.seed=1')
  assert (code, errors, given[1].images_per_prompt) == (0, '', 3)
  code, _, errors = say(
    'generate', '--config.each=2', '--config.images_per_prompt=3'
  )
  assert code == 2 and 'give one of them' in errors
