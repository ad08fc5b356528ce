"""Many objects lie in a file, with the values that memory would hold."""

import concurrent.futures
import json
import os
import tempfile

import memory_growth
import numpy as np
import pytest

from hermesflow_jax.data import input_set
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_names
from hermesflow_jax.runtime import disk_objects


@pytest.fixture(autouse=True)
def most(monkeypatch):
  monkeypatch.setattr(disk_objects, 'MOST', 3)
  monkeypatch.setattr(disk_arrays, 'MOST_BYTES', 0)


def records(count):
  return ({'id': f'{n}', 'text': f'é {n}' * 200} for n in range(count))


@pytest.mark.parametrize('count', [0, 1, 3, 4, 50])
def test_values_are_those_that_were_given(count):
  kept, expected = disk_objects.keep(records(count)), list(records(count))
  assert isinstance(kept, list) == (count <= 3)
  assert list(kept) == expected and kept == expected and len(kept) == count
  assert kept[1:40:3] == expected[1:40:3]
  if count:
    assert (kept[-1], kept[0]) == (expected[-1], expected[0])
  with pytest.raises(IndexError):
    kept[count]
  assert kept != [*expected, {}]


@pytest.mark.parametrize('count', [2, 20])
def test_the_last_of_equal_names_counts_in_the_place_of_the_first(count):
  names = [f'{n % 7}' for n in range(count)]
  items = [(name, (n, np.full(3, n))) for n, name in enumerate(names)]
  kept, expected = disk_names.keep_by_name(iter(items)), dict(items)
  assert isinstance(kept, dict) == (count == 2)
  assert list(kept) == list(expected) and kept.keys() == expected.keys()
  for name, (number, array) in expected.items():
    assert kept[name][0] == number
    np.testing.assert_array_equal(kept[name][1], array)
  assert '8' not in kept and kept.get('8', 5) == 5
  with pytest.raises(KeyError):
    kept['8']


def test_names_of_a_part_are_lists():
  """They are hashed and written as JSON."""
  inputs = input_set.from_records(
    [
      {
        'id': f'{n}',
        'caption': f'a {n}',
        'tag': '',
        'questions': [],
        'codes': np.full(2, n),
      }
      for n in range(9)
    ]
  )
  chosen = inputs.select([8, 1, 5, 3, 0])
  assert list(chosen.ids) == ['8', '1', '5', '3', '0']
  assert list(chosen.tags) == [''] * 5
  assert list(chosen.captions) == ['a 8', 'a 1', 'a 5', 'a 3', 'a 0']
  assert chosen.codes[:, 0].tolist() == [8, 1, 5, 3, 0]
  both = input_set.join([inputs, chosen])
  assert both.ids == inputs.ids and both.questions == inputs.questions
  part = inputs.part(slice(2, 8))
  assert json.dumps([part.ids, part.captions, part.questions])


def test_memory_does_not_grow_with_objects_on_disk():
  keep = lambda count: disk_objects.keep(records(count))
  # A record has 1,200.
  memory_growth.check_below(10, keep, 50, 10_050)
  assert list(records(9))[-1] == keep(9)[-1]


def test_threads_read_at_once():
  kept = disk_objects.keep(range(3_000))
  with concurrent.futures.ThreadPoolExecutor(4) as threads:
    assert list(threads.map(kept.__getitem__, range(3_000))) == [*range(3_000)]


def test_no_file_stays_behind(monkeypatch, tmp_path):
  monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
  kept = disk_objects.keep(range(9))
  assert list(kept) == [*range(9)] and not list(tmp_path.iterdir())


@pytest.mark.parametrize('broken', [1, 5])
def test_memory_holds_what_the_disk_does_not(monkeypatch, broken):
  write, calls = os.pwrite, iter(range(100))

  def refuse(file, data, offset):
    """Writes little at a time, and fails in a while."""
    if next(calls) in range(broken, broken + 3):
      raise OSError('disk full')
    return write(file, data[:200], offset)

  monkeypatch.setattr(os, 'pwrite', refuse)
  expected = [text * 300 for text in 'abcdefghi']
  kept = disk_objects.keep(expected)
  assert list(kept) == expected
  assert next(calls) > broken + 3


def test_parts_are_joined_without_making_their_values():
  made = []
  parts = [
    [],
    disk_objects.Computed(3, lambda n: made.append(n) or n * n),
    [],
    'ab',
    [],
  ]
  values = disk_objects.joined(parts)
  assert len(values) == 5 and not made
  assert values[2] == 4 and made == [2]
  assert list(values) == [0, 1, 4, 'a', 'b'] and values[-1] == 'b'
  with pytest.raises(IndexError):
    values[5]
  assert not disk_objects.joined([]) and not disk_objects.joined([[], []])


def test_computed_values_are_made_when_they_are_taken():
  made = []
  values = disk_objects.Computed(5, lambda n: made.append(n) or n * n)
  assert len(values) == 5 and not made
  assert (values[2], values[-1], made) == (4, 16, [2, 4])
  part = values[1:4]
  assert len(part) == 3 and made == [2, 4]
  assert list(part) == [1, 4, 9] and part[-1] == 9
  assert disk_objects.few_as_list(part) == [1, 4, 9]
  assert disk_objects.few_as_list(values) is values
