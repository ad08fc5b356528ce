"""Imported judges stand on the page of a run, once, also on older pages."""

import json

import pytest

from hermesflow_jax.reports import imported_judges
from hermesflow_jax.reports import run_page

ROWS = [
  {
    'round': number,
    'judge': 'pixels',
    'scenes': 4,
    'understanding': 0.5,
    'generation': 0.25,
    'gap': 0.25,
  }
  for number in (0, 1)
]


def write(root, name, generation):
  rows = [
    row | {'judge': name, 'generation': generation, 'same_verdict': 0.75}
    for row in ROWS
  ]
  results = {'judge': {'name': name, 'prompt': 'Look <closely>.'}}
  path = root / f'results_{len(name)}.json'
  path.write_text(json.dumps(results | {'rounds': rows}))


@pytest.fixture
def run(tmp_path):
  (tmp_path / 'results.json').write_text(json.dumps({'rounds': ROWS}))
  report = run_page.RunReport('A run', '', ROWS)
  run_page.write_page(str(tmp_path / 'report.html'), report)
  return tmp_path


@pytest.mark.parametrize('older', [False, True])
def test_an_import_adds_its_table_and_another_keeps_it(run, older):
  page = run / 'report.html'
  before = page.read_text()
  if older:
    begin = before.index('<!-- imported')
    end = before.index('<!-- end of imported judges -->')
    before = before[:begin] + before[end:].partition('-->')[2]
    page.write_text(before)
  assert not imported_judges.update_page(run)
  assert page.read_text() == before
  write(run, 'two <b>', 0.875)
  assert imported_judges.update_page(run)
  once = page.read_text()
  assert imported_judges.update_page(run) and page.read_text() == once
  write(run, 'three', 0.625)
  (run / 'results_damaged.json').write_text('{"judge"')
  assert imported_judges.update_page(run)
  text = page.read_text()
  for cell in ('two &lt;b&gt;', 'three', 'Look &lt;closely&gt;.', '0.875'):
    assert cell in text
  assert text.count('0.625') == 2 and text.count('75%') == 4
  assert text.count('<!-- imported judges -->') == 1
  assert text.endswith(before[-20:])


def test_a_page_that_is_written_later_has_the_same_part(run):
  write(run, 'two', 0.875)
  imported_judges.update_page(run)
  updated = (run / 'report.html').read_text()
  report = run_page.RunReport(
    'A run', '', ROWS, imported=imported_judges.read(run)
  )
  assert run_page.render_page(report) == updated
