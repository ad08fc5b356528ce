"""Rows of pairs are made when they are taken, once each time."""

from hermesflow_jax.jobs.setup import pair_source
from hermesflow_jax.runtime import disk_objects


def test_a_row_without_pixels_is_one_row(monkeypatch):
  monkeypatch.setattr(disk_objects, 'MOST', 2)
  made = []

  def row_at(number):
    made.append(number)
    return {'id': str(number), 'codes': [1, 2], 'pixels': lambda: number}

  rows, readers = pair_source.without_pixels(disk_objects.Computed(5, row_at))
  assert len(rows) == len(readers) == 5 and not made
  assert rows[3] == {'id': '3', 'codes': [1, 2]} and made == [3]
  assert readers[4]() == 4 and made == [3, 4]


def test_checked_rows_have_texts_and_their_pixels(monkeypatch):
  monkeypatch.setattr(disk_objects, 'MOST', 2)
  for count in (2, 5):
    records = [
      {'id': b'%d' % n, 'codes': [1, 2], 'pixels': lambda n=n: n}
      for n in range(count)
    ]
    rows = pair_source.checked_records(records, 2)
    assert [row['id'] for row in rows] == [str(n) for n in range(count)]
    assert [row['pixels']() for row in rows] == list(range(count))
