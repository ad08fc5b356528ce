"""Judges named on the command line: faults before work, pairs of a curation."""

import json
import shutil

import chat_server
import command_line
import numpy as np
import pytest

from hermesflow_jax.data import input_set
from hermesflow_jax.jobs import judge
from hermesflow_jax.jobs.setup import judged_images
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import terminal


def endpoint_flags(base, url, *flags):
  return [
    command_line.CONFIG,
    f'--config.init_from={base}',
    '--config.judge.kind=endpoint',
    f'--config.judge.url={url}',
    '--config.judge.model=a-model',
    *flags,
  ]


def test_an_endpoint_that_is_not_there_ends_a_run_before_any_work(
  start, idle, base, tmp_path
):
  with chat_server.Server() as gone:
    pass
  command_line.one_line(
    start(*endpoint_flags(base, gone.url, '--config.judge.retries=0')),
    'judge.url must be an endpoint that replies, got ',
    'Connection refused',
    'start the endpoint, or give judge.probe=False',
  )
  assert not (tmp_path / 'runs').exists()


@pytest.mark.parametrize(
  'fault, message',
  [
    ((401, {}, '{"error": {"message": "no"}}'), 'judge.key_variable must name'),
    ((404, {}, '{"error": "no such model"}'), 'judge.url and model must be k'),
    ((200, {}, '<html>proxy</html>'), 'got a web page: proxy from 127.0.0.1'),
  ],
)
def test_an_endpoint_that_refuses_ends_a_run_before_any_work(
  start, idle, base, tmp_path, fault, message
):
  with chat_server.Server(faults=[fault]) as server:
    command_line.one_line(
      start(*endpoint_flags(base, server.url, '--config.judge.retries=0')),
      message,
    )
  assert not (tmp_path / 'runs').exists()


def test_a_judge_without_its_key_or_encoder_ends_a_run(
  start, idle, base, tmp_path
):
  with chat_server.Server() as server:
    command_line.one_line(
      start(
        *endpoint_flags(base, server.url, '--config.judge.key_variable=NOT_SET')
      ),
      'judge.key_variable must be an environment variable with a key, got '
      'NOT_SET, which is not set; run export NOT_SET=<key> first',
    )
    command_line.one_line(
      start(
        *endpoint_flags(
          base, server.url, '--config.play.answer_matcher=sentence'
        )
      ),
      'encoders.sentence must be a text encoder',
    )
  assert not (tmp_path / 'runs').exists()


def test_the_pairs_of_a_curation_are_judged(whole_curation, tmp_path):
  run = shutil.copytree(whole_curation, tmp_path / 'run')
  judge.run(
    judge.Settings('export', str(run)),
    str(tmp_path / 'questions'),
    terminal.silent(),
  )
  rows = [
    json.loads(line)
    for line in (run / 'exported_questions.jsonl').read_text().splitlines()
  ]
  assert {row['part'] for row in rows} == {'win', 'lose'}
  # The judge prefers every winner.
  answers = {
    q['id']: q['answer'] if row['part'] == 'win' else '%'
    for row in sorted(rows, key=lambda row: row['part'])
    for q in row['questions']
  }
  (tmp_path / 'a.jsonl').write_text(
    ''.join(
      json.dumps({'id': name, 'answer': text}) + '\n'
      for name, text in answers.items()
    )
  )
  results = judge.run(
    judge.Settings(
      'import', str(run), answers=str(tmp_path / 'a.jsonl'), name='J'
    ),
    '',
    terminal.silent(),
  )
  assert results['rounds'] == []
  assert results['pairs']['']['winners_by_judge'] == 1.0
  assert results['pairs']['']['judge_agrees'] > 0.5


@pytest.mark.parametrize(
  'damage', ['cut', 'empty', 'other', 'fewer', 'changed']
)
def test_damaged_images_of_a_run_are_named(tmp_path, damage):
  inputs = input_set.Inputs(
    ids=['a', 'b'],
    captions=['a ring', 'two rings'],
    tags=['', ''],
    questions=[[], []],
    codes=np.zeros((2, 16), np.int32),
  )
  (tmp_path / 'scenes.jsonl').write_text('{"id": "a"}\n{"id": "b"}\n')
  codes = np.zeros((1 if damage == 'fewer' else 2, 16), np.int32)
  data = output_files.npz_bytes(codes=codes)
  # The first byte of the compressed data; zlib knows no such block.
  changed = data[:59] + b'\xff' + data[60:]
  data = {
    'cut': data[:90],
    'empty': b'',
    'other': b'x',
    'changed': changed,
  }.get(damage, data)
  (tmp_path / 'scenes.npz').write_bytes(data)
  with pytest.raises(ValueError, match='scenes.npz is damaged') as error:
    judged_images._scenes(tmp_path, 'scenes', inputs)
  assert '\n' not in str(error.value)
