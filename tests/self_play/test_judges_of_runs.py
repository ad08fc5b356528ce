"""Runs with a judge of the user's choice: asked, recorded, resumed, refused."""

import dataclasses
import html
import json
import re

import chat_server
import file_runs
import jax
import pytest
import self_play_runs
import simple_samplers
import tiny_world

from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.judging import judge_settings
from hermesflow_jax.pair_dpo import learning


@pytest.fixture(autouse=True)
def quick(monkeypatch):
  """Runs sample by functions, and learn by a shift of the weights."""
  simple_samplers.use(monkeypatch)
  monkeypatch.setattr(
    learning,
    'learn_round',
    lambda unified, *args, **kwargs: jax.tree.map(
      lambda a: a * 1.01, unified.model
    ),
  )


@pytest.fixture
def server():
  with chat_server.Server() as server:
    yield server


def judged_by(config, judge):
  play = dataclasses.replace(config.play, rounds=1, shard=2)
  return dataclasses.replace(config, play=play, judge=judge)


def questions_of(root):
  """Number of questions that the judge of a run with one round answered."""
  rows = [
    row
    for r in ('round_0', 'round_1')
    for name in ('scenes', 'scenes_unseen')
    for row in self_play_runs.lines(root / r / f'{name}.jsonl')
  ]
  return sum(len(row['judged']) for row in rows)


def check_name_and_prompt(results, output, root):
  """Checks the judge in the results, in the log and in the report."""
  name, prompt = (results['judge'][key] for key in ('name', 'prompt'))
  line = ' '.join(prompt.split())
  assert f'judge of generated images: {name}, asked {line!r}' in output
  assert json.loads((root / 'results.json').read_text())['judge']['prompt']
  page = html.unescape((root / 'report.html').read_text())
  (record,) = re.findall(r'<summary>Judge</summary>.*?</details>', page, re.S)
  assert f'>{name}<' in record and f'>{prompt}<' in record


def test_a_run_asks_its_endpoint_and_says_whom_it_asked(
  config, server, tmp_path, monkeypatch
):
  monkeypatch.setenv('JUDGE_KEY', 'secret')
  judge = server.settings(
    key_variable='JUDGE_KEY', prompt='See. {question} Choices: {choices}'
  )
  results, output = file_runs.run_and_hear(
    judged_by(config, judge), tmp_path / 'run'
  )
  record = dict(results['judge'])
  used = record.pop('usage')
  host = server.url.removeprefix('http://').removesuffix('/v1')
  assert record == {
    'name': 'a-model',
    'model': 'a-model',
    'host': host,
    'prompt': judge.prompt,
  }
  first, second = results['rounds']
  parts = [first['judge_usage'], second['judge_usage']]
  parts.append(second['curation']['judge_usage'])
  for name, value in used.items():
    assert value == pytest.approx(sum(part[name] for part in parts))
  evaluated = parts[0]['questions'] + parts[1]['questions']
  assert evaluated == questions_of(tmp_path / 'run')
  assert used['unmatched'] == 0 and used['requests'] == used['questions']
  # Each question about an image is asked once; images may be drawn twice.
  asked = {json.dumps(body) for body in server.bodies[1:]}
  assert len(asked) == len(server.bodies) - 1 <= used['requests']
  assert used['prompt_tokens'] == 10 * used['requests']
  page = (tmp_path / 'run' / 'report.html').read_text()
  for text in (
    f'Generated images were judged by a-model at {host}. It answered',
    '<caption>Judge of generated images: a-model.</caption>',
    'See. {question} Choices: {choices}',
  ):
    assert text in page
  assert 'judge of generated images: a-model' in output[-2]
  check_name_and_prompt(results, output, tmp_path / 'run')
  for path in (tmp_path / 'run').rglob('*.*'):
    assert not path.is_file() or b'secret' not in path.read_bytes(), path
  assert json.loads((tmp_path / 'run/results.json').read_text()) == results


def test_an_endpoint_that_dies_loses_nothing(config, server, tmp_path):
  expected, _ = file_runs.run_and_hear(
    judged_by(config, server.settings()), tmp_path / 'expected'
  )
  total = len(server.bodies) - 1
  server.bodies.clear()
  answer, calls = server.answer, []

  def dying(body):
    calls.append(body)
    if len(calls) in (10, total - 5):
      server.faults.append((0, {}, ''))
    return answer(body)

  server.answer = dying
  judge = server.settings(retries=0, parallel=1)
  for _ in range(2):
    with pytest.raises(ConnectionError, match=r'judge.url must be .* at try 1'):
      file_runs.run_and_hear(judged_by(config, judge), tmp_path / 'run')
  # Pace and address may change.
  judge = dataclasses.replace(judge, retries=3, parallel=4, timeout=5.0)
  results, output = file_runs.run_and_hear(
    judged_by(config, judge), tmp_path / 'run'
  )
  assert any('replies found in' in line for line in output)
  differing = ('config',)
  for name in results.keys() - set(differing):
    assert (
      self_play_runs.timeless(results)[name]
      == (self_play_runs.timeless(expected)[name])
      if name not in self_play_runs.MEASURED
      else True
    ), name
  probes, faults = 3, 2
  assert len(server.bodies) == total + probes + faults


def test_another_judge_is_another_run(config, server, tmp_path):
  file_runs.run_and_hear(judged_by(config, server.settings()), tmp_path / 'run')
  count = len(server.bodies)
  output = file_runs.run_and_hear(
    judged_by(config, server.settings(rate=9.0, probe=True)), tmp_path / 'run'
  )[1]
  assert any('this run is finished' in line for line in output)
  assert len(server.bodies) == count
  for judge in (server.settings(model='b'), judge_settings.JudgeSettings()):
    with pytest.raises(
      ValueError, match=r'other settings: config.judge.*another --w'
    ):
      file_runs.run_and_hear(judged_by(config, judge), tmp_path / 'run')


def test_a_run_may_wait_for_answers_in_files(config, tmp_path):
  answers = tmp_path / 'answers'
  answers.mkdir()
  (answers / 'first.jsonl').write_text('')
  judge = judge_settings.JudgeSettings(kind='files', answers=str(answers))
  settings = judged_by(config, judge)
  folder = tmp_path / 'run' / 'judge' / 'open_questions'
  for number in range(20):
    try:
      results, output = file_runs.run_and_hear(settings, tmp_path / 'run')
      break
    except ValueError as error:
      assert 'and run the same command again' in str(error)
      rows = self_play_runs.lines(folder / 'questions.jsonl')
      (answers / f'{number}.jsonl').write_text(
        ''.join(
          json.dumps({'id': row['id'], 'answer': row['choices'][0]}) + '\n'
          for row in rows
        )
      )
  assert results['judge']['name'] == 'answers in files'
  check_name_and_prompt(results, output, tmp_path / 'run')
  assert results['judge']['usage']['questions'] > 20


def test_a_function_of_the_user_judges(config, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'judges_of_user.py').write_text(
    'def first(images, questions):\n'
    '  assert images.dtype == "uint8" and images.ndim == 4\n'
    '  return [[q["choices"][0] for q in row] for row in questions]\n'
  )
  judge = judge_settings.JudgeSettings(kind='judges_of_user:first')
  results, output = file_runs.run_and_hear(
    judged_by(config, judge), tmp_path / 'run'
  )
  assert results['judge'] == {
    'name': 'judges_of_user:first',
    'prompt': '{question} {choices}',
  }
  check_name_and_prompt(results, output, tmp_path / 'run')


def test_the_model_of_another_checkpoint_judges(base, tmp_path):
  config = file_runs.one_round(base, tmp_path)
  other = tiny_world.bundle(tmp_path / 'judge', seed=1)
  results = {}
  for name, path in (('own', base), ('other', other)):
    judge = judge_settings.JudgeSettings(kind='model', init_from=str(path))
    results[name], output = file_runs.run_and_hear(
      judged_by(config, judge), tmp_path / name
    )
    check_name_and_prompt(results[name], output, tmp_path / name)
  own, other_rounds = results['own']['rounds'], results['other']['rounds']
  # A model never judges itself.
  assert own[0]['judge'] == 'base model' and 'own_score' not in own[0]
  assert other_rounds[0]['judge'] == f'model {other}'
  assert 'own_score' in other_rounds[0]
  assert results['other']['judge']['model'] == str(other)
  with pytest.raises(ValueError, match='config.judge.init_from|judge_model'):
    judge = judge_settings.JudgeSettings(kind='model', init_from=str(base))
    file_runs.run_and_hear(judged_by(config, judge), tmp_path / 'other')


@pytest.mark.parametrize(
  'judge, message',
  [
    (
      {'kind': 'pixels'},
      'judge.kind must not be pixels with files of your own',
    ),
    (
      {'kind': 'no_module:f'},
      'judge.kind must be a function that can be impor',
    ),
    (
      {'kind': 'model', 'init_from': 'no'},
      'judge.init_from must be a model, got no: no check',
    ),
    ({'kind': 'files', 'answers': 'no'}, 'judge.answers must be a file'),
  ],
)
def test_a_judge_that_cannot_be_used_ends_a_run_before_any_work(
  file_config, tmp_path, judge, message
):
  judge = judge_settings.JudgeSettings(**judge)
  with pytest.raises(ValueError, match=message):
    pair_dpo.run(
      judged_by(file_config, judge),
      str(tmp_path / 'run'),
      file_runs.terminal.silent(),
    )
  assert not (tmp_path / 'run').exists()
