"""Pairs follow the paper's rules, and each drop has a reason."""

import json

import numpy as np
import pytest

from hermesflow_jax.curation import candidate_generation
from hermesflow_jax.curation import pair_files
from hermesflow_jax.curation import pair_selection
from hermesflow_jax.data import input_set
from hermesflow_jax.runtime import output_files
from hermesflow_jax.sampling import maskgit

Side, Pair = pair_selection.ScoredCandidate, pair_selection.Pair


def pair(win, lose, values=('a', 'b')):
  return Pair(Side(values[0], win), Side(values[1], lose))


def judged(win, lose, least_win=0.6, least_margin=0.0, values=('a', 'b')):
  return pair_selection.filter_pair(
    pair(win, lose, values), least_win, least_margin
  ).dropped


def test_the_best_wins_and_the_worst_loses():
  chosen = pair_selection.choose_pair(
    ['a', 'b', 'c'], np.array([0.5, 0.9, 0.1]), None
  )
  assert chosen == Pair(Side('b', 0.9), Side('c', 0.1))


def test_of_equal_scores_the_first_counts():
  chosen = pair_selection.choose_pair(
    list('abcd'), np.array([0.2, 0.8, 0.8, 0.2]), None
  )
  assert (chosen.win.value, chosen.lose.value) == ('b', 'a')


@pytest.mark.parametrize(
  'best, loser',
  [
    (0.9, Side('a', 0.7)),  # The beaten winner becomes the loser.
    (0.7, Side('b', 0.2)),  # Not beaten: the old loser stays.
    (0.5, Side('b', 0.2)),
  ],
)
def test_over_rounds_a_beaten_winner_becomes_the_loser(best, loser):
  chosen = pair_selection.choose_pair(
    ['c', 'd'], np.array([0.1, best]), pair(0.7, 0.2)
  )
  assert chosen == Pair(Side('d', best), loser)


def test_the_example_of_the_rule_for_rounds():
  """As in the docstring of `choose_pair`."""
  first = pair_selection.choose_pair('ABC', np.array([0.2, 0.7, 0.5]), None)
  second = pair_selection.choose_pair('DE', np.array([0.9, 0.4]), first)
  third = pair_selection.choose_pair('FG', np.array([0.8, 0.6]), second)
  assert [(p.win.value, p.lose.value) for p in (first, second, third)] == [
    ('B', 'A'),
    ('D', 'B'),
    ('F', 'B'),
  ]


def test_what_was_dropped_before_still_counts_in_the_next_round():
  before = pair_selection.filter_pair(pair(0.5, 0.5), 0.6, 0.0)
  assert before.dropped
  chosen = pair_selection.choose_pair(['c'], np.array([0.8]), before)
  assert (chosen.lose, chosen.dropped) == (Side('a', 0.5), '')


@pytest.mark.parametrize(
  'win, lose, options, reason',
  [
    (0.9, 0.2, {}, ''),
    (0.6, 0.2, {}, 'winner too weak'),
    (0.61, 0.2, {}, ''),
    (0.9, 0.9, {}, 'no difference'),
    (0.8, 0.9, {}, 'no difference'),
    (0.75, 0.5, {'least_margin': 0.25}, 'difference too small'),
    (0.76, 0.5, {'least_margin': 0.25}, ''),
    (0.9, 0.2, {'values': ('a', 'a')}, 'same content'),
    (0.5, 0.5, {'values': ('a', 'a')}, 'winner too weak'),
  ],
)
def test_a_pair_that_cannot_teach_is_dropped(win, lose, options, reason):
  assert judged(win, lose, **options) == reason


def test_equal_codes_are_the_same_content():
  codes = np.array([1, 2]), np.array([1, 2])
  assert judged(0.9, 0.2, values=codes) == 'same content'


@pytest.mark.parametrize(
  'caption, image, either, both',
  [
    ('', '', True, True),
    ('no difference', '', True, False),
    ('', 'winner too weak', True, False),
    ('no difference', 'winner too weak', False, False),
  ],
)
def test_an_input_teaches_with_either_pair_or_with_both(
  caption, image, either, both
):
  assert pair_selection.is_trainable(caption, image, both=False) == either
  assert pair_selection.is_trainable(caption, image, both=True) == both


def candidates():
  """Two inputs; the captions of the second are all alike."""
  return candidate_generation.Candidates(
    captions=[['a', 'b'], ['c', 'c']],
    caption_scores=np.array([[0.1, 0.3], [0.5, 0.5]]),
    codes=np.arange(12).reshape(2, 3, 2),
    image_scores=np.array([[0.0, 1.0, 0.5], [0.5, 0.25, 0.0]]),
    answers=[[['yes']] * 3] * 2,
  )


def test_each_input_gives_both_pairs_under_its_id():
  pairs = pair_selection.select_pairs(
    candidates(), ['x', 'y'], pair_selection.PairRules(), {}
  )
  assert list(pairs) == ['x', 'y']
  und, gen = pairs['x']
  assert (und.win, und.lose, und.dropped) == (
    Side('b', 0.3),
    Side('a', 0.1),
    '',
  )
  assert (gen.win.value.tolist(), gen.lose.value.tolist()) == ([2, 3], [0, 1])
  assert gen.dropped == ''
  und, gen = pairs['y']
  assert (und.dropped, gen.dropped) == ('no difference', 'winner too weak')


def test_the_least_score_of_a_winner_is_for_images_only():
  pairs = pair_selection.select_pairs(
    candidates(), ['x', 'y'], pair_selection.PairRules(least_win=1.0), {}
  )
  assert [p.dropped for p in pairs['x']] == ['', 'winner too weak']


def test_rounds_are_joined_by_id_not_by_place():
  rules = pair_selection.PairRules(least_win=0.0)
  first = pair_selection.select_pairs(candidates(), ['x', 'y'], rules, {})
  turned = {name: first[name] for name in ('y', 'x')}
  again = [
    pair_selection.select_pairs(candidates(), ['x', 'y'], rules, before)
    for before in (first, turned)
  ]
  dumps = [
    output_files.json_lines(
      pair_files.pair_to_record(n, '', p) for n, p in item.items()
    )
    for item in again
  ]
  assert dumps[0] == dumps[1]
  # Not beaten, so the losers of the round before stay.
  assert again[0]['y'][1].lose.value.tolist() == [10, 11]


def test_an_input_that_is_new_has_no_past():
  rules = pair_selection.PairRules()
  first = pair_selection.select_pairs(candidates(), ['x', 'y'], rules, {})
  pairs = pair_selection.select_pairs(candidates(), ['new', 'y'], rules, first)
  assert pairs['new'][0] == first['x'][0]


def test_drops_are_counted_by_reason():
  pairs = pair_selection.select_pairs(
    candidates(), ['x', 'y'], pair_selection.PairRules(), {}
  )
  assert pair_files.drop_counts(pairs) == {
    'caption': {'kept': 1, 'no difference': 1},
    'image': {'kept': 1, 'winner too weak': 1},
  }


def test_a_record_comes_back():
  pairs = pair_selection.select_pairs(
    candidates(), ['x', 'y'], pair_selection.PairRules(), {}
  )
  for name, (und, gen) in pairs.items():
    row = json.loads(
      output_files.json_lines(
        [pair_files.pair_to_record(name, 'true', (und, gen))]
      )
    )
    assert (row['id'], row['caption']) == (name, 'true')
    read_und, read_gen = pair_files.pair_from_record(row)
    assert read_und == und
    assert read_gen.dropped == gen.dropped
    for side, expected in ((read_gen.win, gen.win), (read_gen.lose, gen.lose)):
      assert side.score == expected.score
      np.testing.assert_array_equal(side.value, expected.value)
      assert side.value.dtype == np.int32


def test_records_are_lines_of_json_without_nan():
  rows = [{'id': 'a\nb', 'caption': 'é'}, {'id': 'c'}]
  lines = output_files.json_lines(rows).splitlines()
  assert [json.loads(line) for line in lines] == rows
  with pytest.raises(ValueError):
    output_files.json_lines([{'score': float('nan')}])


class Model:
  """Answers 'red' about images of codes 1, and says so."""

  def describe(self, ids, codes, samplers, seed):
    return [[f'{name} {sampler}' for sampler in samplers] for name in ids]

  def draw(self, ids, captions, images, sampler, seed):
    return np.array([[[k % 2] * 4 for k in range(images)] for _ in ids])

  def answer(self, codes, questions):
    return [
      ['red' if c[0] else 'blue' for _ in records]
      for c, records in zip(codes, questions, strict=True)
    ]


def test_images_are_scored_by_the_models_own_answers():
  questions = [
    [{'answer': 'red'}, {'answer': 'blue'}, {'answer': 'red'}],
    [{'answer': 'red'}],
  ]
  inputs = input_set.Inputs(
    ids=['x', 'y'],
    captions=['x 1', 'y 2'],
    tags=['', ''],
    questions=questions,
    codes=np.zeros((2, 4), int),
  )

  def same(captions, true):
    return np.array([f == t for f, t in zip(captions, true)], float)

  config = candidate_generation.CandidateConfig(
    maskgit.MaskGITSampler(1, 0.0), 3, [1, 2], same, 0
  )
  candidates = candidate_generation.make_candidates(Model(), inputs, config)
  np.testing.assert_allclose(
    candidates.image_scores, [[1 / 3, 2 / 3, 1 / 3], [0, 1, 0]]
  )
  np.testing.assert_array_equal(candidates.caption_scores, [[1, 0], [0, 1]])
  assert candidates.captions == [['x 1', 'x 2'], ['y 1', 'y 2']]
  assert candidates.answers[1] == [['blue'], ['red'], ['blue']]
