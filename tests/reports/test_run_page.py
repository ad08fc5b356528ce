"""The page shows what was measured, stands alone, and survives missing parts."""

import dataclasses
import math
import re

import numpy as np
import page_reader
import pytest

from hermesflow_jax.reports import html_page
from hermesflow_jax.reports import run_page

NASTY = '<script>alert("&")</script>'


@pytest.fixture(scope='module')
def run():
  pixels = np.zeros((8, 8, 3), np.uint8)
  rounds = [page_reader.row(0, 0.9, 0.7), page_reader.row(1, 0.91, 0.8)]
  rounds[1]['curation'] = {
    'drops': {
      'caption': {'kept': 30, 'no difference': 10},
      'image': {'kept': 17, 'winner too weak': 23},
    },
    'correlation': 0.4321,
    'winners_by_judge': 0.876,
    'losers_by_judge': 0.543,
    'seconds': 12.5,
  }
  answers = [
    ('what color is the ring ?', 'red', 'red'),
    ('what shape is it ?', 'cross', 'ring'),
  ]
  return run_page.RunReport(
    'A title',
    'python main.py',
    rounds,
    note='Stopped early.',
    control=[dict(page_reader.row(1, 0.9, 0.71), name='continued pretraining')],
    training=[page_reader.steps(1, 7)],
    gallery=[
      run_page.Sample('a red ring', pixels, pixels, '1/4', pixels, '3/4')
    ],
    pairs=[
      run_page.PairSample(
        'scene-7',
        pixels,
        'a red ring',
        'a red ring',
        1.0,
        'a cross',
        0.25,
        pixels,
        1.0,
        answers,
        pixels,
        0.5,
        answers,
        image_dropped='difference too small',
        round=1,
      )
    ],
    settings={'objective': {'beta': 0.1}},
    seeds={'run': 17},
    versions={'jax': '0.10.2'},
    seconds=321.0,
    peak_memory=2.5e9,
  )


@pytest.fixture(scope='module')
def page(run):
  return run_page.render_page(run)


def test_page_nests_and_is_written_whole(run, page, tmp_path):
  path = tmp_path / 'deep' / 'report.html'
  run_page.write_page(path, run)
  assert path.read_text(encoding='utf-8') == page
  page_reader.Reader(page)
  assert [p.name for p in path.parent.iterdir()] == ['report.html']


def test_page_shows_the_command_where_there_was_one(run):
  command = 'python main.py --config=configs/pair_dpo.py:show_o_512'
  page = run_page.render_page(dataclasses.replace(run, command=command))
  assert f'<pre><code>{command}</code></pre>' in page
  assert '<pre>' not in run_page.render_page(
    dataclasses.replace(run, command='')
  )


def test_page_needs_nothing_else(page):
  read = page_reader.Reader(page)
  assert not re.search(r'https?:|//[a-z]|url\(|@import', page)
  assert not {'script', 'link', 'iframe'} & {tag for tag, _ in read.tags}
  images = read.all('img')
  assert len(images) == 6
  for image in images:
    assert image['src'].startswith('data:image/png;base64,') and image['alt']


@pytest.mark.parametrize(
  'shown',
  [
    'shrank from 0.200 to 0.110 in 1 round',
    '0.900 ± 0.004',
    '0.800 ± 0.005',
    '0.110 ± 0.006',
    '0.777 ± 0.003',
    '1 234',
    'continued pretraining',
    'color (55 questions)',
    '0.913',
    '0.641',
    '0.123',
    '0.456',
    'scene-7, round 1',
    '1/4',
    '3/4',
    '0.25',
    'not trained on: difference too small',
    '(expected ring)',
    '75%',
    '42%',
    '0.432',
    '0.876',
    '0.543',
    '+0.333',
    'never used for training',
    'objective.beta',
    '0.1',
    '17',
    '0.10.2',
    '321',
    '2.50',
    '12.5',
    'Stopped early.',
    'python main.py',
  ],
)
def test_numbers_are_those_measured(page, shown):
  assert shown in page_reader.Reader(page).text.replace('\u202f', ' ')


def test_text_is_escaped(run):
  pair = dataclasses.replace(
    run.pairs[0],
    id=NASTY,
    caption=NASTY,
    caption_win=NASTY,
    answers_win=[(NASTY, NASTY, 'x')],
    caption_dropped=NASTY,
  )
  sample = dataclasses.replace(run.gallery[0], caption=NASTY, after_right=NASTY)
  rounds = [
    dict(r, by_type={NASTY: {'generation': 1.0}}, geneval={NASTY: 1})
    for r in run.rounds
  ]
  page = run_page.render_page(
    dataclasses.replace(
      run,
      title=NASTY,
      command=NASTY,
      note=NASTY,
      pairs=[pair],
      gallery=[sample],
      settings={NASTY: NASTY},
      rounds=rounds,
      control=[dict(rounds[0], name=NASTY)],
    )
  )
  assert not page_reader.Reader(page).all('script')
  assert NASTY in page_reader.Reader(page).text


@pytest.mark.parametrize(
  'missing',
  [
    {'rounds': []},
    {'rounds': [{'round': 0}]},
    {'rounds': [{'round': 0}, {'round': 1, 'curation': {}}]},
    {'training': []},
    {'training': [[], [{'step': 3}], [{}], [{'step': None, 'gen/loss': 1.0}]]},
    {'gallery': []},
    {'gallery': [run_page.Sample('a', None, None, '', None, '')]},
    {'pairs': []},
    {'control': [{'name': 'a', 'round': 1}]},
    {'settings': {}, 'seeds': {}, 'versions': {}, 'seconds': None},
  ],
)
def test_missing_parts_leave_a_page(run, missing):
  page_reader.Reader(run_page.render_page(dataclasses.replace(run, **missing)))


def test_only_the_needed_fields_leave_a_page():
  read = page_reader.Reader(
    run_page.render_page(run_page.RunReport('t', 'c', []))
  )
  assert 'Nothing has been measured yet.' in read.text


@pytest.mark.parametrize('hole', [math.nan, math.inf, None, 'text'])
def test_values_that_are_no_numbers_are_left_out(run, hole):
  rounds = [
    {k: hole if isinstance(v, float) else v for k, v in r.items()}
    for r in run.rounds
  ]
  rows = [
    [
      {k: v if k == 'step' else hole for k, v in r.items()}
      for r in run.training[0]
    ]
  ]
  page = run_page.render_page(
    dataclasses.replace(run, rounds=rounds, training=rows)
  )
  assert not re.search(
    r'\bnan\b|\binf\b', page_reader.Reader(page).text.lower()
  )
  for shape in page_reader.Reader(page).all('path'):
    assert re.fullmatch(r'[-MLCz0-9. ]*', shape.get('d', ''))


def test_a_diagnosis_that_was_not_made_is_a_sentence(run):
  rounds = [dict(r) for r in run.rounds]
  rounds[1]['curation'] = {'drops': {}, 'note': 'Nobody was asked.'}
  page = dataclasses.replace(run, rounds=rounds)
  text = page_reader.Reader(run_page.render_page(page)).text
  assert 'Round 1: Nobody was asked.' in text and '0.432' not in text


def test_one_set_of_captions_is_shown_alone(page):
  text = page_reader.Reader(page).text
  assert (
    'no input has' not in text
    and 'Unseen captions' not in text
    and 'By kind of caption' not in text
  )


def test_pixels_of_another_kind_are_refused():
  with pytest.raises(
    ValueError, match=r'pixels must be uint8\[H, W, 3\], got float32'
  ):
    html_page.png_uri(np.zeros((2, 2, 3), np.float32))


def test_equal_runs_have_equal_pages_with_identifiers_that_are_unique(
  run, page
):
  assert page == run_page.render_page(run)
  ids = re.findall(r' id="([^"]*)"', page)
  assert len(ids) == len(set(ids)) > 0
  # Each reference inside a drawing leads somewhere.
  assert set(re.findall(r'href="#([^"]*)"', page)) <= set(ids)


def test_a_run_on_groups_shows_how_many_differ(run, page):
  assert 'Groups of candidates' not in page
  learned = {
    'inputs': 44,
    'steps': 5,
    'groups': {'image': {'kept': 44, 'no difference': 76}},
    'rewards': {'image': 0.8765},
  }
  rounds = [*run.rounds[:1], run.rounds[1] | {'learned': learned}]
  text = run_page.render_page(dataclasses.replace(run, rounds=rounds))
  assert 'Groups of candidates' in text
  for cell in ('120', '44', '37%', '0.876'):
    assert f'>{cell}<' in text
