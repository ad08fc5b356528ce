"""Inputs of rounds, and the records that a round learns from."""

import dataclasses

import numpy as np
import pytest

from hermesflow_jax.curation import pair_selection
from hermesflow_jax.data import input_set
from hermesflow_jax.pair_dpo import learning
from hermesflow_jax.pair_dpo import record_rows
from hermesflow_jax.self_play import play_settings
from hermesflow_jax.self_play import round_state


def records(count):
  """Returns records in the order of a source, which is none."""
  return [
    {
      'id': f'{n:06d}',
      'caption': '',
      'tag': '',
      'questions': [],
      'codes': np.zeros(2, np.int32),
    }
    for n in np.random.default_rng(count).permutation(count)
  ]


def test_fresh_rounds_meet_no_input_twice_and_do_not_depend_on_their_number():
  three = [set(r.ids) for r in play_settings.round_inputs(records, 5, 3, True)]
  assert len(set.union(*three)) == 15
  two = play_settings.round_inputs(records, 5, 2, True)
  assert [set(r.ids) for r in two] == three[:2]


def test_rounds_that_are_not_fresh_meet_the_same_inputs():
  first, second = play_settings.round_inputs(records, 5, 2, False)
  assert first.ids == second.ids
  assert len(first) == 5


def test_a_round_does_not_depend_on_images_that_others_skip():
  """Rounds of two inputs; the third image and the last two are unreadable."""
  rows = [
    record | {'position': int(record['id'])}
    for record in records(8)
    if int(record['id']) not in (2, 6, 7)
  ]
  rounds = play_settings.round_inputs(lambda count: rows, 2, 3, True)
  ids = [[int(name) for name in part.ids] for part in rounds]
  assert ids == [[0, 1], [3], [4, 5]]
  with pytest.raises(ValueError, match='records 7 to 8 by id must exist and'):
    play_settings.round_inputs(lambda count: rows, 2, 4, True)
  # The job `curate` reads the inputs up to its round.
  first = [row for row in rows if row['position'] < 4]
  alone = input_set.from_span(first, range(2, 4))
  assert [int(name) for name in alone.ids] == [3]


@pytest.mark.parametrize('fresh, counts', [(True, [5, 10]), (False, [5, 5])])
def test_answers_are_learned_from_the_inputs_of_all_rounds_so_far(
  fresh, counts
):
  """And from more scenes that no round has as inputs."""
  inputs = play_settings.round_inputs(records, 5, 2, fresh)
  scenes = input_set.from_records(
    [record | {'id': f'more {record["id"]}'} for record in records(3)]
  )
  for more in (None, scenes):
    data = play_settings.PlayData(
      inputs, None, None, {}, None, answer_inputs=more
    )
    for number, count in zip((1, 2), counts):
      this_round = round_state.Round(
        number, None, None, False, data, None, None, None
      )
      joined = this_round.question_inputs
      assert len(joined) == count + (3 if more else 0)
      assert len(set(joined.ids)) == len(joined.codes) == len(joined)
      assert set(this_round.inputs.ids) <= set(joined.ids)


def pair(score_win, score_lose, values, dropped=''):
  win, lose = (
    pair_selection.ScoredCandidate(np.array(v), s)
    for v, s in zip(values, (score_win, score_lose))
  )
  return pair_selection.Pair(win, lose, dropped)


@pytest.mark.parametrize('both, names', [(False, ['c', 'a']), (True, ['a'])])
def test_records_are_joined_by_id(both, names):
  inputs = input_set.Inputs(
    ids=['a', 'b', 'c'],
    captions=['A', 'B', 'C'],
    tags=[''] * 3,
    questions=[[]] * 3,
    codes=np.arange(6).reshape(3, 2),
  )
  good = pair(1, 0, ([1], [2]))
  bad = dataclasses.replace(good, dropped='no difference')
  rows = record_rows.join_pairs(
    inputs, {'c': (good, bad), 'b': (bad, bad), 'a': (good, good)}, both
  )
  actual = [(row['id'], row['caption'], row['codes'].tolist()) for row in rows]
  expected = {'c': ('c', 'C', [4, 5]), 'a': ('a', 'A', [0, 1])}
  assert actual == [expected[name] for name in names]
  dropped = {'c': 'no difference', 'a': ''}
  assert [r['image_dropped'] for r in rows] == [dropped[n] for n in names]


@pytest.mark.parametrize(
  'epochs, records, steps',
  [(0.0, 80, 50), (2.0, 80, 20), (2.0, 81, 21), (0.1, 8, 1), (9.0, 800, 50)],
)
def test_a_round_ends_after_its_epochs(config, epochs, records, steps):
  play = dataclasses.replace(
    config.play,
    epochs=epochs,
    batch=8,
    optim=dataclasses.replace(config.play.optim, steps=50),
  )
  assert learning.step_count(play, records) == steps
