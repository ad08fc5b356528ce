"""The job ablation: search, tables, and starts after a stop."""

import dataclasses
import json
import re
import shutil

import unread_models

from hermesflow_jax.experiments import ablation
from hermesflow_jax.runtime import terminal


def test_the_rate_is_the_best_on_other_scenes(comparison, finished_comparison):
  root, results = finished_comparison
  search = results['search']['images']
  assert set(search['rates']) == {'0.01', '0.1'}

  def both(rate):
    return sum(
      search['rates'][rate][k] for k in ('understanding', 'generation')
    )

  best = max(('0.01', '0.1'), key=both)
  assert search['chosen'] == float(best)
  row = next(m for m in results['models'] if m['arm'] == 'images')
  assert row['rate'] == float(best)
  searched = root / 'search' / 'images' / best / 'round_1' / 'scenes.jsonl'
  held_out = root / 'seed_3' / 'base' / 'round_0' / 'scenes.jsonl'
  mine, theirs = (
    {json.loads(line)['id'] for line in path.read_text().splitlines()}
    for path in (searched, held_out)
  )
  assert len(mine) == 5 and not mine & theirs


def test_tables_and_page_have_all_models_and_the_sweep(finished_comparison):
  root, results = finished_comparison
  text, page = (
    (root / 'table.md').read_text(),
    (root / 'report.html').read_text(),
  )
  for title in (
    'Scores',
    'Since the base model',
    'Against Pair-DPO',
    'Candidates',
    'Learning rates',
    'Budgets',
    'What judging oneself costs',
    'Scores of its own images',
    'Six tasks since the base model',
    'Captions of inputs and others',
  ):
    assert f'## {title}\n' in text
    assert f'<h2>{title}</h2>' in page
  assert '| DPO, images |' in text
  # Some captions are those of inputs, or none, or all.
  header = text.split('## Captions of inputs and others\n')[1].split('| -')[0]
  counted = re.findall(r'(?:of inputs|other captions) \((\d+)\)', header)
  assert sum(map(int, counted)) == results['scenes']
  assert results['command'] in page
  assert page.count('<svg') == 5
  assert '<h2>Sensitivities</h2>' in page
  # What differs comes before all models and scores.
  assert text.index('## Candidates') < text.index('## Scores')


def test_the_same_command_goes_on_where_it_was_stopped(
  comparison, finished_comparison, tmp_path
):
  root, results = finished_comparison
  copy = tmp_path / 'run'
  shutil.copytree(root, copy)
  shutil.rmtree(copy / 'seed_4' / 'pair_dpo')
  (copy / 'results.json').unlink()
  ablation.run(comparison, str(copy), terminal.silent())
  again = json.loads((copy / 'results.json').read_text())
  for single, other in zip(again['models'], results['models'], strict=True):
    assert single['scores'] == other['scores']
    assert single.get('base') == other.get('base')
  assert again['floors'] == results['floors']


def test_there_is_a_report_after_each_seed(
  comparison, finished_comparison, tmp_path
):
  root, results = finished_comparison
  copy = tmp_path / 'run'
  shutil.copytree(root, copy)
  for name in ('results.json', 'table.md', 'report.html'):
    (copy / name).unlink()
  seen = []

  def say(text):
    if text.startswith('report of seeds'):
      seen.append((copy / 'table.md').read_text())

  console = dataclasses.replace(terminal.silent(), say=say)
  ablation.run(comparison, str(copy), console)
  first, last = seen
  assert 'Means over seeds 3 and' in first
  assert 'Means over seeds 3, 4 and' in last
  # What does not depend on the seeds is the same.
  assert (
    first.split('## Learning rates')[1].split('##')[0]
    == (last.split('## Learning rates')[1].split('##')[0])
  )


def test_a_comparison_that_is_finished_stays_what_it_is(
  comparison, finished_comparison, monkeypatch
):
  unread_models.refuse_reading(monkeypatch)
  root, _ = finished_comparison
  before = (root / 'results.json').read_bytes()
  (root / 'table.md').unlink()
  again = ablation.run(comparison, str(root), terminal.silent())
  assert again == json.loads(before)
  assert (root / 'results.json').read_bytes() == before
  assert '## Scores' in (root / 'table.md').read_text()
