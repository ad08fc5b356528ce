"""Benchmarks: predictions, scores, comparison of models, imported results."""

import dataclasses
import json
import pathlib
import shutil

from PIL import Image
import pytest
import tiny_jobs
import unread_models

import configs.evaluate
from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.benchmarks import registry
from hermesflow_jax.jobs import evaluate
from hermesflow_jax.jobs import evaluate_import
from hermesflow_jax.jobs.setup import benchmark_judges
from hermesflow_jax.jobs.setup import benchmark_predictions
from hermesflow_jax.jobs.setup import benchmark_results
from hermesflow_jax.jobs.setup import benchmark_sets
from hermesflow_jax.jobs.setup import evaluated_models
from hermesflow_jax.jobs.setup import job_judging
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal
from hermesflow_jax.shapes import caption_questions
from hermesflow_jax.shapes import drawing
from hermesflow_jax.shapes import scene_sampler


def write_pope(root):
  """Writes questions of POPE's form about two scenes, in a single split."""
  lines = []
  for number in range(2):
    scene = scene_sampler.sample_scene('eval', 0, number)
    Image.fromarray(drawing.render(scene)).save(root / f'{number}.png')
    for text, label in (('what shape is the object ?', 'yes'),):
      lines.append(
        {
          'question_id': number,
          'image': f'{number}.png',
          'text': text,
          'label': label,
        }
      )
  (root / 'coco_pope_random.json').write_text('\n'.join(map(json.dumps, lines)))


def write_geneval(root):
  scenes = [scene_sampler.sample_scene('eval', 0, n) for n in range(2)]
  lines = [
    {'tag': tag, 'include': [], 'prompt': scene.caption}
    for scene, tag in zip(scenes, ('counting', 'colors'), strict=True)
  ]
  path = root / 'evaluation_metadata.jsonl'
  path.write_text('\n'.join(map(json.dumps, lines)))


def write_tifa(root):
  scenes = [scene_sampler.sample_scene('eval', 0, n) for n in range(2)]
  records = [
    {**question, 'id': str(n)}
    for n, scene in enumerate(scenes)
    for question in caption_questions.questions_of_caption(
      str(n), scene.caption
    )
  ]
  (root / 'tifa.json').write_text(json.dumps(records))


@pytest.fixture
def run(base, tmp_path):
  """Runs the job: (results, what was said)."""
  data = tmp_path / 'data'
  data.mkdir()
  write_pope(data)
  write_geneval(data)
  write_tifa(data)

  def call(benchmarks, workdir='out', **changes):
    config = configs.evaluate.get_config()
    del config.job
    config.update({'init_from': str(base), 'benchmarks': benchmarks})
    config.sources.pope.update({'path': str(data), 'suffix': ''})
    config.sources.geneval.path = str(data)
    config.sources.tifa.path = str(data / 'tifa.json')
    config.judge.kind = 'pixels'
    config.sampler.steps = 2
    config.update(changes)
    built = settings.build(evaluate.Settings, config.to_dict())
    console, output = tiny_jobs.heard()
    return evaluate.run(built, str(tmp_path / workdir), console), output

  return call


def test_two_equal_models_do_not_differ(run, base, tmp_path, monkeypatch):
  copy = tmp_path / 'copy'
  shutil.copytree(base, copy)
  results, output = run(('pope',), models=(str(base), str(copy)))
  first, second = results['benchmarks']['pope']['models'].values()
  assert [s['rule'] for s in first] == ['official', 'lmms-eval', 'VLMEvalKit']
  for own, other in zip(first, second, strict=True):
    assert other['headline'] == own['headline']
    assert other['change'] == {'mean': 0, 'standard_error': 0, 'rows': 2}
  assert 'POPE (official, %)' in '\n'.join(output)
  folder = tmp_path / 'out' / 'predictions' / 'copy' / 'pope'
  first, _ = (folder / 'predictions.jsonl').read_text().splitlines()
  assert json.loads(first)['id'] == 'random/0'
  assert (folder / 'official' / 'coco_pope_random.jsonl').exists()
  unread_models.refuse_reading(monkeypatch)
  assert run(('pope',), models=(str(base), str(copy)))[0] == results


def test_a_stopped_run_predicts_only_what_is_missing(
  run, tmp_path, monkeypatch
):
  monkeypatch.setattr(benchmark_predictions, 'GROUP', 1)
  expected, _ = run(('pope',))
  (tmp_path / 'out' / 'results.json').unlink()
  name = next(iter(expected['benchmarks']['pope']['models']))
  folder = tmp_path / 'out' / 'predictions' / name / 'pope'
  (folder / 'parts' / '000001.jsonl').write_text('damaged')
  counts = []
  ask = benchmark_predictions.Predictor._ask

  def count(self, benchmark, rows, folder):
    counts.append(len(rows))
    return ask(self, benchmark, rows, folder)

  monkeypatch.setattr(benchmark_predictions.Predictor, '_ask', count)
  assert run(('pope',))[0] == expected
  assert counts == [1]


def test_drawings_are_judged_and_official_scores_come_in(run, tmp_path):
  results, _ = run(('geneval', 'tifa'))
  (name,) = results['benchmarks']['tifa']['models']
  (scores,) = results['benchmarks']['tifa']['models'][name]
  assert 0 <= scores['headline'] <= 100
  (model,) = results['models']
  assert model['judge'] == {'name': 'pixels', 'prompt': '{question}'}
  images = tmp_path / 'out' / 'predictions' / name / 'geneval' / 'images'
  with Image.open(images / '00001' / 'samples' / '0003.png') as image:
    assert image.mode == 'RGB'
  metadata = json.loads((images / '00001' / 'metadata.jsonl').read_text())
  assert metadata['tag'] == 'colors'
  official = tmp_path / 'geneval.jsonl'
  official.write_text(
    '\n'.join(
      json.dumps(
        {
          'filename': f'/x/{folder}/samples/000{n}.png',
          'prompt': json.loads(
            (images / folder / 'metadata.jsonl').read_text()
          )['prompt'],
          'correct': folder == '00001' or n == 0,
        }
      )
      for folder in ('00000', '00001')
      for n in range(4)
    )
  )
  config = evaluate_import.Settings(
    str(tmp_path / 'out'), 'geneval', name, str(official)
  )
  again = evaluate_import.run(config, '', terminal.silent())
  scores = again['benchmarks']['geneval']['models'][name][0]
  assert (scores['rule'], scores['headline']) == ('official', 0.625)
  assert again['benchmarks']['tifa'] == results['benchmarks']['tifa']
  saved = json.loads((tmp_path / 'out' / 'results.json').read_text())
  assert saved == again


def test_replies_of_another_model_are_scored(run, tmp_path):
  results, _ = run(('pope',))
  replies = tmp_path / 'replies.jsonl'
  lines = [{'id': f'random/{n}', 'reply': 'Yes'} for n in range(2)]
  replies.write_text('\n'.join(map(json.dumps, lines)))
  config = evaluate_import.Settings(
    str(tmp_path / 'out'), 'pope', 'another', str(replies)
  )
  again = evaluate_import.run(config, '', terminal.silent())
  models = again['benchmarks']['pope']['models']
  assert models['another'][0]['headline'] == 100
  assert models['another'][0]['change']['rows'] == 2
  faults = {
    '1 rows have no reply': lines[:1],
    "id must occur once, got 'random/0' again": [*lines, lines[0]],
    'reply must be Unicode text': [lines[0] | {'reply': '\ud800'}],
  }
  for message, faulty in faults.items():
    replies.write_text('\n'.join(map(json.dumps, faulty)))
    with pytest.raises(ValueError, match=message):
      evaluate_import.run(config, '', terminal.silent())
  own = results['models'][0]['name']
  config = evaluate_import.Settings(
    str(tmp_path / 'out'), 'pope', own, str(replies)
  )
  with pytest.raises(ValueError, match='must not be a model of the run'):
    evaluate_import.run(config, '', terminal.silent())


def test_all_faults_come_before_any_work(run, tmp_path):
  with pytest.raises(ValueError) as error:
    run(
      ('mmmu', 'gqa'), models=(str(tmp_path / 'none'), str(tmp_path / 'other'))
    )
  for part in ('none', 'other', 'sources.mmmu.path', 'sources.gqa.path'):
    assert part in str(error.value)
  assert not (tmp_path / 'out').exists()


def test_advice_about_the_matcher_names_a_setting_of_this_job(run, tmp_path):
  answers = tmp_path / 'answers.jsonl'
  answers.write_text('{"id": "x", "answer": "yes"}')
  judge = {'kind': 'files', 'answers': str(answers)}
  with pytest.raises(ValueError, match=r'give --config\.answer_matcher=ngram'):
    run(('tifa',), judge=judge, answer_matcher='sentence')


def test_changes_are_of_rows_that_both_models_have():
  change = benchmark_results.paired_change(
    {'a': 0, 'b': 1, 'c': 1}, {'b': 1, 'a': 1, 'd': 0}
  )
  assert change == {'mean': 0.5, 'standard_error': 0.5, 'rows': 2}


def test_the_table_says_how_many_rows_a_number_rests_on():
  scores = [{'rule': 'r', 'unit': '', 'headline': 0.5}]
  result = {'title': 'COCO', 'rows': 24, 'models': {'base': scores}}
  text = benchmark_results.summary_text(
    {
      'coco': result | {'rows_of_file': 30_000},
      'tifa': result | {'rows_of_file': 24},
    }
  )
  assert [line.split()[2:] for line in text.splitlines()[1:]] == [
    ['24', 'of', '30,000', '0.500'],
    ['24', '0.500'],
  ]


def test_only_30000_captions_are_30k():
  benchmark = registry.make('coco')
  assert benchmark.title_of(24) == 'COCO'
  assert benchmark.title_of(30_000) == 'COCO 30K'


def test_results_come_in_only_for_the_rows_of_the_run(run, tmp_path):
  results, _ = run(('pope',))
  path = tmp_path / 'data' / 'coco_pope_random.json'
  path.write_text(path.read_text().replace('what shape', 'what color'))
  config = evaluate_import.Settings(
    str(tmp_path / 'out'), 'pope', 'another', str(path)
  )
  with pytest.raises(ValueError, match='must have the files that'):
    evaluate_import.run(config, '', terminal.silent())
  saved = json.loads((tmp_path / 'out' / 'results.json').read_text())
  assert saved == results


def test_files_of_the_embedded_world_are_the_same_in_each_program():
  files = registry.Sources(
    **{n: protocol.BenchmarkFiles('shapes') for n in ('coco', 'gap')}
  )
  first, second = (
    benchmark_sets.read(('coco', 'gap'), files, 2, terminal.silent())
    for _ in range(2)
  )
  for entry, other in zip(first, second, strict=True):
    assert entry.temporary != other.temporary
    assert entry.content_hash() == other.content_hash()


def test_the_first_model_judges_the_drawings_of_all(monkeypatch):
  """The judge of a model alone would be the model itself."""
  made = []

  def make(config, unified, root, console):
    made.append(config.judge)
    return 'judge', {'name': f'model {config.judge.init_from}'}

  monkeypatch.setattr(job_judging, 'make', make)
  config = configs.evaluate.get_config()
  del config.job
  config.judge.kind = ''
  config = settings.build(evaluate.Settings, config.to_dict())
  models = [
    evaluated_models.EvaluatedModel(
      name, dataclasses.replace(config, init_from=name), pathlib.Path(name)
    )
    for name in ('first', 'second')
  ]
  records = [
    benchmark_judges.make(models, model, None, None, None)[1]
    for model in models
  ]
  assert [(j.kind, j.init_from) for j in made] == [('', ''), ('model', 'first')]
  assert records[1] == {'name': 'base model'}
