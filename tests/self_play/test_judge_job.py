"""Images of a finished run go to another judge, and its answers come back."""

import json
import shutil

from PIL import Image
import pytest
import self_play_runs

from hermesflow_jax.jobs import judge
from hermesflow_jax.jobs.setup import exported_rows
from hermesflow_jax.runtime import terminal
import main


def heard():
  lines = []
  return terminal.Console(lines.append, lambda label: lambda x: x), lines


@pytest.fixture(scope='module')
def exported(whole, tmp_path_factory):
  """(a copy of the finished run, the folder of its questions, its rows)."""
  root = tmp_path_factory.mktemp('judged')
  run = shutil.copytree(whole, root / 'run')
  config = judge.Settings('export', str(run), pairs=True)
  counts = judge.run(config, str(root / 'questions'), terminal.silent())
  rows = self_play_runs.lines(run / 'exported_questions.jsonl')
  assert counts['parts']['round_2/scenes'] == 4
  return run, root / 'questions', rows


def write_answers(path, rows, answer):
  """Writes answers to the questions of all rows; returns the path."""
  answers = {
    question['id']: answer(row, number, question)
    for row in rows
    for number, question in enumerate(row['questions'])
  }
  path.write_text(
    ''.join(
      json.dumps({'id': name, 'answer': text}) + '\n'
      for name, text in answers.items()
    )
  )
  return str(path)


def read(run, answers, **changes):
  console, lines = heard()
  config = judge.Settings(
    **{
      'action': 'import',
      'source': str(run),
      'answers': answers,
      'name': 'Two',
    }
    | changes
  )
  return judge.run(config, 'unused', console), lines


def test_the_questions_have_images_and_no_right_answers(exported):
  run, folder, rows = exported
  public = self_play_runs.lines(folder / 'questions.jsonl')
  ids = {q['id'] for row in rows for q in row['questions']}
  assert {row['id'] for row in public} == ids and len(public) == len(ids)
  for row in public:
    assert row.keys() == {'id', 'image', 'question', 'choices'}
    with Image.open(folder / row['image']) as image:
      assert image.size == (64, 64) and not image.text.get('Description')
  parts = {row['part'] for row in rows}
  assert {'round_0/scenes', 'round_2/scenes_unseen', 'round_1/win'} <= parts


def test_the_same_answers_give_the_same_table(exported, tmp_path):
  """The run's judge reads pixels: its answers give its numbers again."""
  run, _, rows = exported
  # An unsure answer of that judge is no choice; '%' resembles none.
  by_pixels = {
    q['id']: text if text in q['choices'] else '%'
    for row in rows
    for q, text in zip(row['questions'], row.get('judged', []))
  }
  answers = write_answers(
    tmp_path / 'a.jsonl',
    rows,
    lambda row, n, q: by_pixels.get(q['id'], q['choices'][0]),
  )
  results, lines = read(run, answers, prompt='Look closely.')
  expected = json.loads((run / 'results.json').read_text())['rounds']
  for actual, row in zip(results['rounds'], expected, strict=True):
    for name in ('generation', 'gap', 'own_score', 'by_type', 'geneval'):
      assert actual[name] == row[name], name
    assert actual['unseen']['gap_se'] == row['unseen']['gap_se']
    assert actual['same_verdict'] == 1.0 >= actual['same_answer']
    assert actual['judge'] == 'Two'
  assert results['judge']['prompt'] == 'Look closely.'
  assert json.loads((run / 'results_Two.json').read_text()) == results
  assert any('judge of generated images: Two' in line for line in lines)
  assert 'round 1: the judge gives winners' in '\n'.join(lines)
  page = (run / 'report.html').read_text()
  part = page.split('<!-- imported judges -->')[1]
  assert '<h3>Two</h3>' in part and 'Look closely.' in part
  assert '<caption>Judge of generated images: Two.</caption>' in part
  assert 'Questions on which Two and pixels agree.' in part
  assert '<caption>Judge of generated images: pixels.</caption>' in page


def test_a_judge_that_is_always_right_is_counted_so(exported, tmp_path):
  run, _, rows = exported
  answers = write_answers(
    tmp_path / 'a.jsonl', rows, lambda row, n, q: q['answer'].upper()
  )
  results, _ = read(run, answers, name='right')
  for row in results['rounds']:
    assert row['generation'] == 1.0
  for pairs in results['pairs'].values():
    assert pairs['winners_by_judge'] == pairs['losers_by_judge'] == 1.0
    assert pairs['judge_agrees'] == pairs['judge_disagrees'] == 0.0


def test_missing_answers_are_named_or_left_out(exported, tmp_path):
  run, _, rows = exported
  path = tmp_path / 'a.jsonl'
  write_answers(path, rows, lambda row, n, q: 'zzz')
  lines = path.read_text().splitlines()
  path.write_text('\n'.join([*lines[1:], '{"id": "strange", "answer": "x"}']))
  with pytest.raises(ValueError, match='got none to 1 of .*on_error=skip'):
    read(run, str(path))
  results, output = read(run, str(path), name='unsure', on_error='skip')
  assert results['judge']['images_left_out'] >= 1
  assert results['judge']['unmatched'] > 0
  assert results['rounds'][0]['generation'] == 0.0
  assert '1 answer without a question' in output[0]
  path.write_text('')
  with pytest.raises(ValueError, match='got none to'):
    read(run, str(path), on_error='skip')


def test_all_faults_of_answers_are_one_error_and_skip_leaves_them_out(
  exported, tmp_path
):
  run, _, rows = exported
  path = tmp_path / 'a.jsonl'
  write_answers(path, rows, lambda row, n, q: q['answer'])
  lines = path.read_text().splitlines()
  first = json.loads(lines[0])['id']
  lines[1] = json.dumps(json.loads(lines[1]) | {'answer': '%'})
  lines[2] = '{damaged'
  path.write_text(
    '\n'.join(
      [
        *lines,
        json.dumps({'id': first, 'answer': 'something else'}),
        '{"id": "strange", "answer": "x"}',
      ]
    )
  )
  with pytest.raises(ValueError) as error:
    read(run, str(path), name='all')
  for text in (
    'got none to 2 of',
    'got 2 faults in',
    f'id {first} has two answers',
    'line 3',
    'got 1 that belong to no question, e.g. strange',
    "got 1 that resemble no choice and count as wrong, e.g. '%'",
    '--config.on_error=skip',
  ):
    assert text in str(error.value), text
  results, output = read(run, str(path), name='all', on_error='skip')
  assert results['judge']['images_left_out'] >= 1
  assert results['judge']['questions'] == len(lines) - 2
  assert 'left out of' in output[0] and first in output[0]


@pytest.mark.parametrize(
  'damage, fault',
  [
    (lambda row: row[:-9], 'line 2: '),
    (lambda row: '[' * 100_000, 'line 2: it is nested too deeply'),
    (lambda row: row.replace('"part"', '"par"'), 'line 2: part must be a text'),
    (lambda row: '[]', 'line 2 holds no JSON object'),
    (lambda row: row.replace('"id"', '"no"'), 'line 2: questions must have id'),
    (lambda row: row.replace('"judged"', '"j"'), 'line 2: judged must have'),
  ],
)
def test_damaged_rows_of_an_export_are_named(exported, tmp_path, damage, fault):
  text = (exported[0] / 'exported_questions.jsonl').read_text()
  rows = text.splitlines()
  rows[1:4] = [damage(rows[1]), rows[2], '{']
  (tmp_path / 'exported_questions.jsonl').write_text('\n'.join(rows))
  with pytest.raises(ValueError, match=fault) as error:
    exported_rows.read(tmp_path)
  assert '; line 4: ' in str(error.value) and '\n' not in str(error.value)
  assert 'exported_questions.jsonl is damaged (' in str(error.value)
  assert str(error.value).endswith(' again')


def test_no_judge_replaces_the_results_of_another(exported, tmp_path):
  run, _, rows = exported
  right, wrong = (
    write_answers(tmp_path / f'{name}.jsonl', rows, answer)
    for name, answer in (
      ('right', lambda row, n, q: q['answer']),
      ('wrong', lambda row, n, q: 'zzz'),
    )
  )
  read(run, right, name='a/b "x"')
  file = run / 'results_a_b_x_.json'
  before = file.read_bytes()
  with pytest.raises(ValueError, match="holds the results of 'a/b"):
    read(run, right, name='a_b_x_')
  with pytest.raises(ValueError, match=r'right.jsonl; remove this file to re'):
    read(run, wrong, name='a/b "x"')
  assert file.read_bytes() == before
  read(run, right, name='a/b "x"', prompt='The same answers.')
  assert b'The same answers.' in file.read_bytes()


def test_an_import_writes_into_no_workdir(exported, tmp_path, capfd):
  run, _, _ = exported
  verbosity = main.logging.get_verbosity()
  arguments = [f'--config.source={run}', '--config.answers=a.jsonl']
  folder = f'--workdir={tmp_path}'
  start = ['main.py', 'judge:import', *arguments, '--config.name=x', folder]
  assert main.main(start) == 2
  main.logging.set_verbosity(verbosity)
  text = capfd.readouterr().err
  assert 'workdir must not be given with judge:import' in text


@pytest.mark.parametrize(
  'flags, message',
  [
    ([':export', '--config.source=no'], "got 'no', which holds no run"),
    ([':import'], "answers must be given with import, got ''"),
    ([':other'], 'variant must be one of export, import'),
  ],
)
def test_a_mistake_is_one_line(flags, message, tmp_path, capfd, monkeypatch):
  variant, *flags = flags
  monkeypatch.chdir(tmp_path)
  verbosity = main.logging.get_verbosity()
  assert main.main(['main.py', f'judge{variant}', *flags]) == 2
  main.logging.set_verbosity(verbosity)
  text = capfd.readouterr().err
  assert message in text and text.count('\n') == 1
  assert not list(tmp_path.iterdir())


def test_a_run_without_an_export_and_one_that_is_not_finished_are_named(
  whole, tmp_path
):
  with pytest.raises(ValueError, match='must be a run whose questions were ex'):
    read(whole, str(tmp_path))
  run = tmp_path / 'run'
  run.mkdir()
  shutil.copy(whole / 'settings.json', run)
  with pytest.raises(ValueError, match='which is not finished'):
    read(run, str(tmp_path))
