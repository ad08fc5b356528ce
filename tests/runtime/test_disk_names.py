"""Names in files are found and sorted as a dict and `sorted` do."""

import random

import memory_growth
import numpy as np
import pytest

from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_names
from hermesflow_jax.runtime import disk_objects

# An accent of its own, a byte that is no UTF-8, and characters beyond 2 bytes.
ODD = ['', 'a', 'A', 'é', 'e\u0301', '\udce9', '\U0001f600', '10', '9']


@pytest.fixture(autouse=True)
def on_disk(monkeypatch):
  monkeypatch.setattr(disk_objects, 'MOST', 3)
  monkeypatch.setattr(disk_arrays, 'MOST_BYTES', 0)


@pytest.mark.parametrize('spread', ['by hash', 'all in one place'])
def test_numbers_are_those_of_a_dict(monkeypatch, spread):
  """Names are set, set again and looked for in random order."""
  if spread != 'by hash':
    monkeypatch.setattr(disk_names, 'hash', lambda name: -1, raising=False)
  draw = random.Random(0)
  names = [*ODD, *(f'{n}' for n in range(150))]
  actual, expected = disk_names.Numbers(), {}
  for number in range(400):
    name = draw.choice(names)
    assert (name in actual) == (name in expected)
    if draw.random() < 0.3:
      assert actual.setdefault(name, -number) == expected.setdefault(
        name, -number
      )
    elif draw.random() < 0.9:
      actual[name] = expected[name] = number
    assert actual.get(name, -7) == expected.get(name, -7)
  assert len(expected) > 100
  assert list(actual.items()) == list(expected.items())
  assert actual == expected and len(actual) == len(expected)
  with pytest.raises(KeyError, match='none'):
    actual['none']


@pytest.mark.parametrize('count', [0, 1, 3, 4, 200])
def test_order_is_that_of_sorted(count):
  """Equal names stay in their order."""
  draw = random.Random(1)
  names = [draw.choice([*ODD, f'{n % 40}']) for n in range(count)]
  expected = sorted(range(count), key=names.__getitem__)
  for values in (names, disk_objects.keep(names)):
    actual = disk_names.order(values)
    assert actual.tolist() == expected and actual.dtype == np.int64
  assert list(disk_names.in_order(iter(names))) == sorted(names)


def test_of_equal_names_the_last_place_counts():
  places = disk_names.places(n % 5 * 'x' for n in range(12))
  assert places == {'': 10, 'x': 11, 'xx': 7, 'xxx': 8, 'xxxx': 9}


@pytest.mark.parametrize('task', ['find', 'sort'])
def test_memory_does_not_grow_with_names(task):
  """A name and its place take 150 bytes in a dict, and 60 in a list."""
  names = disk_objects.Computed(4_000, lambda n: f'scenes-train-{n * 7919:09d}')

  def run(count):
    if task == 'find':
      return disk_names.places(names[:count])
    return disk_names.order(disk_objects.keep(names[:count]))

  # Sorted parts have 100 names, and one of each is in memory.
  disk_objects.MOST = 100
  memory_growth.check_below(20, run, 400, 4_000)
  assert run(300)['scenes-train-000007919' if task == 'find' else 1] == 1
