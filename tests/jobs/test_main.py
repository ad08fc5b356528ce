"""Mistakes end in one line and exit code 2, before any work."""

import json

import command_line
import pytest


@pytest.mark.parametrize(
  'arguments, output',
  [
    ([], '--config is missing'),
    (['--config'], 'Missing value for flag --config'),
    (['--config='], 'empty string'),
    (['--config=nowhere.py'], 'nowhere.py'),
    (
      [f'--config={command_line.ROOT}/configs/__init__.py'],
      'config file has no get_config',
    ),
    (
      [command_line.CONFIG + ':show_o'],
      'variant must be one of shapes, paper, grpo',
    ),
    (
      [f'--config={command_line.ROOT}/configs/tokenizer.py:x'],
      'has no variants',
    ),
    ([command_line.CONFIG, 'extra'], 'unexpected arguments: extra'),
    ([command_line.CONFIG, '--wokdir=x'], 'Did you mean: workdir'),
    ([command_line.CONFIG, '--config.play.round=1'], 'Did you mean "rounds"'),
    ([command_line.CONFIG, '--config.play.optim.lr.x=1'], 'play.optim.lr.x'),
    ([command_line.CONFIG, '--config.play.rounds=2.5'], 'rounds=2.5'),
    ([command_line.CONFIG, '--config.play.optim=3'], 'play.optim'),
    (['--config.play.rounds=1', command_line.CONFIG], 'before'),
    (
      [command_line.CONFIG, '--processes=2'],
      'must be given for several processes',
    ),
    (
      [command_line.CONFIG, '--processes=2', '--process=2'],
      'process must be less than processes, 2, got 2',
    ),
    *(
      (
        [command_line.CONFIG, f'--coordinator={name}'],
        f"coordinator must be host:port or 'auto', got '{name}'",
      )
      for name in ('host', 'host:', ':1', 'host:x', 'host:70000')
    ),
    (
      [command_line.CONFIG, '--workdir=s3://a/b'],
      'path must be a folder or gs://bucket/folder, got s3://a/b',
    ),
    (
      [command_line.CONFIG, '--workdir=gs://'],
      'path must be a folder or gs://bucket/folder, got gs://',
    ),
    (
      [command_line.CONFIG, '--config.job=x'],
      'must be tokenizer, pretrain, pair_dpo, seeds',
    ),
  ],
)
def test_a_command_line_that_cannot_be_read(start, idle, arguments, output):
  command_line.one_line(start(*arguments), output)


@pytest.mark.parametrize(
  'override, output',
  [
    (
      'play.optim.lr=nan',
      'config.play.optim.lr must be a finite number, got nan',
    ),
    ('play.optim.lr=-1', 'lr must be more than 0, got -1.0'),
    ('play.optim.steps=0', 'steps must be at least 1, got 0'),
    (
      'play.objective.beta=inf',
      'config.play.objective.beta must be a finite number, got inf',
    ),
    (
      'play.objective.drop_condition=1.5',
      'drop_condition must be between 0 and 1, got 1.5',
    ),
    (
      'play.curation_sampler.guidance=nan',
      'curation_sampler.guidance must be a finite number, got nan',
    ),
    (
      'play.evaluation_sampler.steps=0',
      'evaluation_sampler.steps must be at least 1, got 0',
    ),
    ('play.evaluation_sampler.schedule=cosin', "pow<number>, got 'cosin'"),
    ('play.captions[0].top_k=0', 'captions[0].top_k must be at least 1, got 0'),
    ('play.rules.least_win=60', 'least_win must be between 0 and 1, got 60.0'),
    ('play.rounds=0', 'rounds must be at least 1, got 0'),
    ('play.images=1', 'images must be at least 2, got 1'),
    ('play.batch=0', 'batch must be at least 1, got 0'),
    ('play.optim.accumulate=3', 'must be a multiple of accumulate=3, got 16'),
    ('play.optim.b2=1', 'b2 must be less than 1, got 1.0'),
    ('play.profile_steps=(5,2)', 'with 0 <= first <= after, got (5, 2)'),
    ('play.save_every=-1', 'save_every must be at least 0, got -1'),
    ('play.seed=-1', 'seed must be at least 0, got -1'),
    ('play.seed=4294967296', 'seed must be less than 4294967296, got 4294967'),
    ('world.seed=9223372036854775808', 'less than 4294967296, got 92233720368'),
    ('play.optim.lr=1e400', 'lr must be a finite number, got inf'),
    ('play.curation_sampler.steps=1000000000', 'steps must be less than 10001'),
    ('play.reference=last', "reference must be 'round' or 'base', got 'last'"),
    ('held_out=1', 'held_out must be at least 2, got 1'),
    ('unseen=1', 'unseen must be 0 or at least 2, got 1'),
    ('held_out_split=train', "or 'preference', got 'train'"),
    ('world.jitter=9', 'jitter must be between 0 and '),
    (
      'mesh.model=3',
      '8, got data=-1 model=3: give data=8 model=1, data=4 model=2 or -1 for',
    ),
    ('mesh.data=16', 'the number of devices, 8, got data=16 model=-1: give'),
    ('mesh.model=0', 'got data=-1 model=0: give'),
  ],
)
def test_a_value_that_cannot_be(start, idle, base, tmp_path, override, output):
  actual = start(
    command_line.CONFIG, f'--config.init_from={base}', f'--config.{override}'
  )
  command_line.one_line(actual, output)
  assert not (tmp_path / 'runs').exists()


@pytest.mark.parametrize(
  'job, texts',
  [
    ('pretrain', ['t2i[0].annotations must be a file']),
    ('pair_dpo', ['data/inputs.jsonl', 'data/held_out.jsonl']),
    ('curate', ['data/inputs.jsonl']),
  ],
)
def test_weights_and_data_that_are_missing_are_one_error(
  start, idle, job, texts
):
  command_line.one_line(
    start(f'--config={job}:show_o_256'),
    'no checkpoint at checkpoints/show_o_256',
    *texts,
  )


@pytest.mark.parametrize('variant', ['show_o_256', 'show_o_512'])
def test_weights_that_are_missing(start, idle, tmp_path, variant):
  command_line.one_line(
    start(f'{command_line.CONFIG}:{variant}'),
    f'no checkpoint at checkpoints/{variant}',
    'python -m conversions.convert showo',
  )
  assert not any(tmp_path.iterdir())


def test_an_asset_that_is_missing(start, idle):
  command_line.one_line(
    start(command_line.CONFIG, '--config.init_from=assets:nothing'),
    'no checkpoint at',
    'assets/nothing',
  )


@pytest.mark.parametrize('text', ['{"model_type": "phi"}', '[]', 'hello'])
def test_an_asset_of_something_else(start, idle, tmp_path, text):
  folder = tmp_path / 'foreign'
  folder.mkdir()
  (folder / 'config.json').write_text(text)
  command_line.one_line(
    start(command_line.CONFIG, f'--config.init_from={folder}'),
    'no readable bundle at',
    folder,
  )


def test_an_asset_that_is_damaged(start, idle, copy, tmp_path):
  weights = copy / 'model.safetensors'
  data = bytearray(weights.read_bytes())
  data[-1] ^= 1
  weights.write_bytes(data)
  command_line.one_line(
    start(command_line.CONFIG, f'--config.init_from={copy}'),
    'model.safetensors has SHA',
  )
  assert not (tmp_path / 'runs').exists()


def test_data_that_is_missing(start, idle, base):
  command_line.one_line(
    start(command_line.CONFIG + ':show_o_256', f'--config.init_from={base}'),
    'data/inputs.jsonl cannot be read',
  )


def test_an_asset_of_other_sizes(start, idle, base, tmp_path):
  (tmp_path / 'a.png').touch()
  row = {
    'id': 'a',
    'img_path': 'a.png',
    'caption': 'a ring',
    'questions': [
      {'question': 'a ring ?', 'choices': ['yes', 'no'], 'answer': 'yes'}
    ],
  }
  flags = [f'--config.init_from={base}', '--config.play.caption_scorer=ngram']
  for split in ('inputs', 'held_out'):
    path = tmp_path / f'{split}.jsonl'
    path.write_text(json.dumps(row | {'id': split}))
    flags += [
      f'--config.files.{split}.annotations={path}',
      f'--config.files.{split}.images={tmp_path}',
      # Otherwise the files have too few records.
      f'--config.files.{split}.on_error=skip',
    ]
  command_line.one_line(
    start(command_line.CONFIG + ':show_o_256', *flags),
    'vocab.text_size of ',
    ' must be 50295, got ',
  )


def test_an_asset_without_a_model(start, idle, copy):
  record = json.loads((copy / 'config.json').read_text())
  record['sha256'] = {
    k: v for k, v in record['sha256'].items() if 'tokenizer' in k
  }
  for name in ('vocab', 'decoder', 'lengths', 'grid'):
    del record[name]
  (copy / 'config.json').write_text(json.dumps(record))
  command_line.one_line(
    start(command_line.CONFIG, f'--config.init_from={copy}'), 'but no model'
  )


@pytest.mark.parametrize('job', ['tokenizer', 'pretrain'])
def test_the_other_jobs_check_before_they_work_too(
  start, idle, base, tmp_path, job
):
  flags = [f'--config={command_line.ROOT}/configs/{job}.py']
  if job == 'pretrain':
    command_line.one_line(
      start(*flags),
      'no readable bundle at runs/shapes',
      'python main.py --config=configs/tokenizer.py',
      '--config.tokenizer=assets:shapes',
    )
    missing = '--config.tokenizer=assets:nothing'
    command_line.one_line(start(*flags, missing), 'assets/nothing')
    flags.append(f'--config.tokenizer={base}')
  (tmp_path / 'file').write_text('')
  command_line.one_line(start(*flags, '--workdir=file/run'), 'file/run')
  if job == 'pretrain':
    shipped = [flags[0], '--config.tokenizer=assets:shapes']
    command_line.one_line(start(*shipped, '--workdir=file/run'), 'file/run')
  command_line.one_line(start(*flags, '--config.export=file/run'), 'file/run')
  command_line.one_line(
    start(*flags, '--config.mesh.model=3'), 'the number of devices, 8'
  )
  command_line.one_line(
    start(*flags, '--config.optim.lr=nan'),
    'config.optim.lr must be a finite number, got nan',
  )
