"""The report shows what was measured, stands alone, and survives gaps."""

import dataclasses
import html.parser
import math
import re

import numpy as np
import pytest

from hermesflow_jax.reports import bar_charts
from hermesflow_jax.reports import charts
from hermesflow_jax.reports import markup
from hermesflow_jax.reports import run_page
from hermesflow_jax.reports import score_sections
from hermesflow_jax.reports import training_sections

NASTY = '<script>alert("&")</script>'
LEAVES = {'meta', 'img'}


class Reader(html.parser.HTMLParser):
  """Collects tags, attributes and text; fails on tags that do not nest."""

  def __init__(self, page):
    super().__init__()
    self.open, self.tags, self.words = [], [], []
    self.feed(page)
    self.close()
    assert not self.open, f'never closed: {self.open}'

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in LEAVES:
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open and self.open[-1] != 'style':
      self.words.append(data)

  def all(self, name):
    return [attributes for tag, attributes in self.tags if tag == name]

  @property
  def text(self):
    return ' '.join(''.join(self.words).split())


def row(number, understanding, generation):
  return {
    'round': number,
    'scenes': 1234,
    'understanding': understanding,
    'understanding_se': 0.004,
    'generation': generation,
    'generation_se': 0.005,
    'gap': understanding - generation,
    'gap_se': 0.006,
    'caption_similarity': 0.777,
    'caption_similarity_se': 0.003,
    'by_type': {
      'color': {
        'questions': 55,
        'understanding': 0.913,
        'generation': 0.641 + number,
      }
    },
    'geneval': {'colors': 0.123, 'position': 0.456},
    'seconds': {'curation': 12.5},
  }


def steps(first, count):
  names = ('loss', 'margin', 'accuracy', 'win_log_ratio', 'lose_log_ratio')
  return [
    {'step': first + n, 'pairs/loss': 0.6}
    | {f'{m}/{k}': 0.1 * n for m in ('und', 'gen') for k in names}
    for n in range(count)
  ]


@pytest.fixture
def run():
  pixels = np.zeros((8, 8, 3), np.uint8)
  rounds = [row(0, 0.9, 0.7), row(1, 0.91, 0.8)]
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
    control=[dict(row(1, 0.9, 0.71), name='continued pretraining')],
    training=[steps(1, 7)],
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


def test_page_nests_and_is_written_whole(run, tmp_path):
  path = tmp_path / 'deep' / 'report.html'
  run_page.write_page(path, run)
  assert path.read_text(encoding='utf-8') == run_page.render_page(run)
  Reader(run_page.render_page(run))
  assert [p.name for p in path.parent.iterdir()] == ['report.html']


def test_page_shows_the_command_where_there_was_one(run):
  command = 'python main.py --config=configs/pair_dpo.py:show_o_512'
  page = run_page.render_page(dataclasses.replace(run, command=command))
  assert f'<pre><code>{command}</code></pre>' in page
  assert '<pre>' not in run_page.render_page(
    dataclasses.replace(run, command='')
  )


def test_page_needs_nothing_else(run):
  page = run_page.render_page(run)
  read = Reader(page)
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
    '(wanted ring)',
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
def test_numbers_are_those_measured(run, shown):
  assert shown in Reader(run_page.render_page(run)).text.replace('\u202f', ' ')


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
  assert not Reader(page).all('script')
  assert NASTY in Reader(page).text


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
  Reader(run_page.render_page(dataclasses.replace(run, **missing)))


def test_only_the_needed_fields_leave_a_page():
  read = Reader(run_page.render_page(run_page.RunReport('t', 'c', [])))
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
  assert not re.search(r'\bnan\b|\binf\b', Reader(page).text.lower())
  for shape in Reader(page).all('polyline'):
    assert re.fullmatch(r'[-0-9., ]+', shape['points'])


@pytest.mark.parametrize(
  'last, said',
  [
    ((0.9, 0.8), 'shrank from 0.200 to 0.100'),
    ((0.9, 0.6), 'grew from 0.200 to 0.300'),
    ((0.9, 0.705), 'did not change beyond two standard errors'),
    ((0.8, 0.7), 'although generation is not measurably better'),
    ((0.8, 0.7), 'Some understanding was lost'),
    ((0.9, 0.95), 'Generation now scores no lower than understanding'),
  ],
)
def test_headline_is_honest(last, said):
  rows = [row(0, 0.9, 0.7), row(1, *last)]
  assert (
    said
    in f'{score_sections.lead_sentence(rows)} {score_sections.explanation(rows)}'
  )


def with_unseen(number, understanding, generation, change=None):
  """A row with scores on captions that no input has."""
  out = row(number, 0.9, 0.7 + 0.1 * number) | {
    'captions_also_of_inputs': 1017,
    'by_tag': {
      'single_object': {
        'scenes': 617,
        'share': 0.5,
        'understanding': 0.987,
        'generation': 0.912 + number / 100,
        'gap': 0.075,
      }
    },
    'unseen': row(number, understanding, generation)
    | {
      'scenes': 321,
      'by_tag': {
        'color_attr': {
          'scenes': 321,
          'share': 1.0,
          'understanding': 0.765,
          'generation': 0.432,
          'gap': 0.333,
        }
      },
    },
  }
  if change:
    out['unseen']['change'] = change
  return out


def test_both_sets_of_captions_are_in_the_headline(run):
  change = {
    'gap': -0.05,
    'gap_se': 0.01,
    'generation': 0.06,
    'generation_se': 0.01,
    'understanding': 0.01,
    'understanding_se': 0.01,
  }
  rounds = [with_unseen(0, 0.852, 0.531), with_unseen(1, 0.862, 0.591, change)]
  page = run_page.render_page(dataclasses.replace(run, rounds=rounds))
  read = Reader(page)
  text = read.text.replace('\u202f', ' ')
  for shown in (
    'On 321 scenes whose captions no input has the gap shrank from 0.321 to '
    '0.271. Generation rose by 0.060 ± 0.010, understanding is unchanged',
    'Of the captions of 1 234 held-out scenes 1 017 are captions of inputs, '
    'too (0 is best).',
    '0.531 ± 0.005',
    # By kind: the shares differ, and so do the means.
    'single object',
    '617',
    '50%',
    '0.922',
    'color attr',
    '100%',
    '0.432',
    'kind by kind',
  ):
    assert shown in text, shown
  head = text[: text.index('Round by round')]
  assert '0.321 → 0.271' in head and '0.200 → 0.100' in head


def test_one_set_of_captions_is_shown_alone(run):
  text = Reader(run_page.render_page(run)).text
  assert 'no input has' not in text and 'By kind of caption' not in text


def test_a_diagnosis_that_was_not_made_is_a_sentence(run):
  rounds = [dict(r) for r in run.rounds]
  rounds[1]['curation'] = {'drops': {}, 'note': 'Nobody was asked.'}
  page = dataclasses.replace(run, rounds=rounds)
  text = Reader(run_page.render_page(page)).text
  assert 'Round 1: Nobody was asked.' in text and '0.432' not in text


def test_paired_change_counts_before_an_unpaired_one():
  rows = [row(0, 0.9, 0.7), row(1, 0.9, 0.705)]
  rows[1]['change'] = {'gap': -0.005, 'gap_se': 0.001}
  assert 'shrank' in score_sections.lead_sentence(rows)
  assert 'paired scene by scene' in score_sections.explanation(rows)


def test_a_line_has_a_point_for_each_value():
  points = [(n, n * n, 0.5) for n in range(9)]
  read = Reader(
    charts.lines(
      [charts.Series('a', points, markers=True)],
      description='squares',
      x_label='n',
    )
  )
  assert len(read.all('polyline')[0]['points'].split()) == 9
  assert len(read.all('circle')) == 9
  whiskers = [line for line in read.all('line') if line['class'] == 'whisker']
  assert len(whiskers) == 9


def test_a_line_breaks_where_a_value_is_missing():
  points = [
    (0, 1, None),
    (1, 2, None),
    (2, math.nan, None),
    (3, 1, None),
    (4, 1, None),
    (5, 1, None),
  ]
  read = Reader(
    charts.lines([charts.Series('a', points)], description='', x_label='n')
  )
  counts = [len(p['points'].split()) for p in read.all('polyline')]
  assert counts == [2, 3]


def test_points_stay_inside_the_drawing():
  points = [(n, v, 3.0) for n, v in enumerate((-1e4, 0.0, 7.0, 2e4))]
  read = Reader(
    charts.lines(
      [charts.Series('a', points, markers=True)], description='', x_label='n'
    )
  )
  for spot in read.all('circle'):
    assert 0 <= float(spot['cx']) <= charts.WIDTH
    assert 0 <= float(spot['cy']) <= charts.HEIGHT


def test_long_lines_are_thinned_to_means():
  kept = charts.thin([(n, float(n), None) for n in range(1000)], most=100)
  assert len(kept) == 100
  assert kept[0][:2] == (4.5, 4.5)


def test_bars_are_as_long_as_their_shares():
  read = Reader(
    bar_charts.bars(
      [('a', [0.25, 1.0]), ('b', [0.5, math.nan])],
      [('before', 'und pale'), ('after', 'und')],
      description='',
    )
  )
  rails = [float(r['width']) for r in read.all('rect') if r['class'] == 'rail']
  drawn = [float(r['width']) for r in read.all('rect') if r['class'] != 'rail']
  assert [d / rails[0] for d in drawn] == pytest.approx([0.25, 1, 0.5, 0])


@pytest.mark.parametrize(
  'low, high',
  [(0.0, 1.0), (-3e-5, 4e-5), (0.712, 0.913), (5.0, 5.0), (-1e6, 3.0)],
)
def test_ticks_are_few_and_enclose_the_range(low, high):
  found = charts.ticks(low, high)
  assert found[0] <= low and found[-1] >= high
  assert 2 <= len(found) <= 7
  assert np.ptp(np.diff(found)) == pytest.approx(0, abs=1e-9 * (high - low + 1))


def test_steps_that_start_again_are_moved_behind_the_round_before():
  rows, borders = training_sections.control_rows([steps(1, 3), steps(1, 2)])
  measured = [r['step'] for r in rows if 'gen/loss' in r]
  assert measured == [1, 2, 3, 4, 5]
  assert borders == [(1, 'round 1'), (3, 'round 2')]


def test_steps_that_go_on_are_kept():
  rows, _ = training_sections.control_rows([steps(1, 2), steps(3, 2)])
  assert [r['step'] for r in rows if 'gen/loss' in r] == [1, 2, 3, 4]


def test_pixels_of_another_kind_are_refused():
  with pytest.raises(ValueError, match='float32'):
    markup.picture(np.zeros((2, 2, 3), np.float32), 'a')


def test_intervals_are_two_errors_each_way_beside_zero():
  drawn = Reader(
    bar_charts.intervals(
      [
        ('one', 0.1, 0.05, True),
        ('two', -0.2, float('nan'), False),
        ('three', None, 0.1, False),
      ],
      description='d',
      x_label='change',
    )
  )
  circles, lines = drawn.all('circle'), drawn.all('line')
  (zero,) = (float(a['x1']) for a in lines if a['class'] == 'axis')
  (bar,) = (a for a in lines if a['class'] == 'whisker')
  one, two = (float(a['cx']) for a in circles)
  # 0.1 with an error of 0.05 reaches 0 and 0.2.
  assert float(bar['x1']) == pytest.approx(zero, abs=0.2)
  assert float(bar['x2']) - one == pytest.approx(one - zero, abs=0.2)
  assert zero - two == pytest.approx(2 * (one - zero), abs=0.3)
  assert [a.get('class') for a in circles] == [None, 'ring']
  assert 'three' in drawn.text and '+0.100' in drawn.text


def test_long_names_of_intervals_have_room():
  name = 'DPO, generation, no SFT terms'
  drawn = bar_charts.intervals(
    [(name, 0.1, 0.1, True), ('b', -0.1, 0.1, True)],
    description='d',
    x_label='x',
  )
  end = float(re.search(f'<text x="([0-9.]+)"[^>]*>{name}<', drawn).group(1))
  assert end > 7 * len(name)
  # Nothing is drawn over it.
  assert all(float(x) > end for x in re.findall(r'<line x1="([0-9.]+)"', drawn))


def test_intervals_of_nothing_say_so():
  found = bar_charts.intervals(
    [('a', None, None, False)], description='d', x_label='x'
  )
  assert 'Nothing was measured' in found


def test_ticks_of_a_line_may_have_names():
  series = [charts.Series('a', [(0, 1.0, None), (1, 2.0, None)])]
  drawn = charts.lines(
    series, description='d', x_label='', whole_x=True, x_names=['few', 'many']
  )
  words = Reader(drawn).text
  assert 'few' in words and 'many' in words


def test_long_names_of_ticks_stay_inside_the_drawing():
  series = [charts.Series('a', [(0, 1.0, None), (1, 2.0, None)])]
  names = ['l' * 30, 'r' * 30]
  drawn = charts.lines(
    series, description='d', x_label='', whole_x=True, x_names=names
  )
  left, right = (
    float(re.search(f'<text x="([0-9.]+)"[^>]*>{name}<', drawn).group(1))
    for name in names
  )
  assert 30 * 3.5 < left < charts.WIDTH / 2 < right < charts.WIDTH - 30 * 3.5
