"""Records by byte offset are the records of the file as text."""

import json

import pytest

from hermesflow_jax.data.sources import byte_ranges
from hermesflow_jax.data.sources import json_rows
from hermesflow_jax.runtime import strict_json

ROWS = [
  {'id': n, 'caption': f'{n}: "ä", {{b}}\n[c] 早い \\', 'deep': [{'x': None}]}
  for n in range(40)
]


def appended(rows):
  """As HermesFlow's scripts write: one object after the other."""
  return ''.join(json.dumps(r, indent=4) + ',\n' for r in rows)


def lines(rows, **options):
  return ''.join(json.dumps(r, **options) + '\n' for r in rows)


FORMS = {
  'lines': lines(ROWS),
  'lines of UTF-8': lines(ROWS, ensure_ascii=False),
  'lines with blanks': lines(ROWS).replace('\n', '\n \n\n'),
  'lines of Windows': lines(ROWS).replace('\n', '\r\n'),
  'lines of an old Macintosh': lines(ROWS).replace('\n', '\r'),
  'lines without an end': lines(ROWS).rstrip(),
  'a list in a line': json.dumps(ROWS, ensure_ascii=False),
  'a list over lines': json.dumps(ROWS, indent=1),
  'a list with a comma behind': '[\n' + appended(ROWS) + ']\n',
  'objects with commas': appended(ROWS),
  'a list of lists': json.dumps([[1], [2]]),
  'numbers': '[1, 22, 333]',
  'one record': json.dumps(ROWS[0]),
  'one record over lines': json.dumps(ROWS[0], indent=1),
  'nothing': '',
  'an empty list': '[]',
  'damage': json.dumps(ROWS, indent=1).replace('"id": 7', '"id": x'),
  'a list without an end': json.dumps(ROWS, indent=1)[:-1],
  'text behind a list': json.dumps(ROWS) + ' x',
  'a record of NaN': json.dumps(ROWS).replace('"id": 7', '"id": NaN'),
  'a key that comes twice': json.dumps(ROWS).replace('[', '[{"a":1,"a":2},', 1),
  'a cut line': lines(ROWS)[:-9] + '\n' + lines(ROWS),
}


def read(path):
  index = json_rows.index_file(path)
  return [(index.place(n), index.read(n)) for n in range(len(index))]


def plain(values):
  return [
    (place, str(value) if isinstance(value, ValueError) else value)
    for place, value in values
  ]


@pytest.mark.parametrize('chunk', [37, 2**20])
@pytest.mark.parametrize('mark', ['', '\ufeff'])
@pytest.mark.parametrize('form', FORMS)
def test_records_and_places_are_those_of_the_text(
  form, mark, chunk, tmp_path, monkeypatch
):
  monkeypatch.setattr(byte_ranges, 'CHUNK', chunk)
  path = tmp_path / 'a.json'
  path.write_bytes((mark + FORMS[form]).encode())
  text = (mark + FORMS[form]).replace('\r\n', '\n').replace('\r', '\n')
  assert plain(read(path)) == plain(strict_json.records(text))


NAMED = {
  'a list under a key': ({'data': ROWS}, 'data[1]'),
  'records by id': (
    {f'r{n}': ROWS[n] | {'id': f'r{n}'} for n in range(3)},
    'r1',
  ),
  'questions by id': (
    {'a': [{'question': '1'}, {'question': '2'}], 'b': [], 'c': []},
    'a[1]',
  ),
}


@pytest.mark.parametrize('chunk', [37, 2**20])
@pytest.mark.parametrize('form', NAMED)
def test_an_object_around_all_records_is_opened(
  form, chunk, tmp_path, monkeypatch
):
  monkeypatch.setattr(byte_ranges, 'CHUNK', chunk)
  value, place = NAMED[form]
  (tmp_path / 'a.json').write_text(json.dumps(value))
  assert read(tmp_path / 'a.json')[1][0] == place
  if form == 'questions by id':
    assert read(tmp_path / 'a.json')[0][1] == {'id': 'a', 'question': '1'}
  else:
    assert [v for _, v in read(tmp_path / 'a.json')] == (
      ROWS if form.startswith('a list') else ROWS[:3] and list(value.values())
    )
