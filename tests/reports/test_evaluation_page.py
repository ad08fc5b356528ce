"""The page of benchmarks: tables, changes, notes, samples."""

import numpy as np
import pytest

from hermesflow_jax.reports import evaluation_page


def scores(headline, change=None, **values):
  own = {
    'rule': 'official',
    'headline': headline,
    'unit': '%',
    'values': values or {'split a': {'accuracy': headline}},
    'notes': ['3 of 9 replies are neither yes nor no'],
  }
  return own | ({'change': change} if change else {})


@pytest.fixture
def results():
  change = {'mean': 0.125, 'standard_error': 0.05, 'rows': 9}
  return {
    'models': [
      {'name': 'base', 'path': '/models/base', 'judge': None},
      {
        'name': '<trained>',
        'path': '/models/trained',
        'judge': {'name': 'a judge', 'prompt': 'look'},
      },
    ],
    'benchmarks': {
      'pope': {
        'title': 'POPE',
        'protocol': 'Greedy.',
        'kind': 'understanding',
        'form': 'official',
        'rows': 9,
        'rows_of_file': 12,
        'notes': ['9 of 12 rows'],
        'published': [
          {'model': 'Show-o', 'headline': 80.0, 'source': 'paper'},
          {'model': 'HermesFlow', 'headline': 81.4, 'source': 'paper'},
        ],
        'models': {'base': [scores(75.0)], '<trained>': [scores(87.5, change)]},
      },
      'geneval': {
        'title': 'GenEval',
        'protocol': 'Four images.',
        'kind': 'generation',
        'form': 'official',
        'rows': 2,
        'rows_of_file': 2,
        'notes': [],
        'published': [],
        'models': {'base': [], '<trained>': []},
      },
    },
  }


def test_models_stand_beside_published_numbers(results):
  (entry,) = (results['benchmarks']['pope'],)
  table = evaluation_page.summary_table([entry], ['base', '<trained>'])
  assert table.header[2:] == [
    'Rows',
    'base',
    '<trained>',
    'Show-o (published)',
    'HermesFlow (published)',
  ]
  assert table.rows == [
    ('POPE', 'official, %', '9 of 12', '75.00', '87.50', '80.00', '81.40')
  ]


def test_the_page_shows_changes_notes_and_samples(results):
  pixels = np.zeros((8, 8, 3), np.uint8)
  sample = evaluation_page.Sample(
    'wrong', 'is it <b>red</b> ?', [(pixels, '')], [('base', 'no', False)]
  )
  page = evaluation_page.render_page(results, {'pope': [sample]}, 'a command')
  assert '+0.125 ± 0.050' in page
  assert 'Rows: 9 of 12' in page
  # A note that all scores share stands once, and text is escaped.
  assert page.count('3 of 9 replies are neither yes nor no') == 1
  assert '&lt;trained&gt;' in page and '<trained>' not in page
  assert 'is it &lt;b&gt;red&lt;/b&gt; ?' in page
  assert 'judge: a judge, asked: look' in page
  assert 'The official scorer' in page or 'the official scorer' in page


def test_a_page_without_any_score_says_so(results):
  entry = results['benchmarks'].pop('geneval')
  results['benchmarks'] = {'geneval': entry}
  page = evaluation_page.render_page(results, {}, '')
  assert 'no score yet' in page and 'No score: the official scorer' in page
  assert 'Understanding' not in page
