"""What a job tells."""

import pytest

from hermesflow_jax import console


@pytest.mark.parametrize('sizes', [[], [3], [2, 0, 5]])
def test_what_is_counted_are_the_items_of_parts(sizes):
  told = []

  def progress(items):
    told.append(len(items))
    for item in items:
      yield item
      told.append(item)
    told.append('end')

  done = []
  for part in console.counted(progress, list('abc')[:len(sizes)], sizes):
    done.append((part, len(told)))
  # A part is done when its items are.
  assert [part for part, _ in done] == list('abc')[:len(sizes)]
  assert told == [sum(sizes), *range(sum(sizes)), 'end']
