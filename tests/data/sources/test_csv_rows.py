"""CSV and TSV: any line end, any character in cells, faults by row."""

import csv
import io
import pathlib

import pytest

from hermesflow_jax.data.sources import csv_rows


def opened(tmp_path, text, name='a.csv'):
  data = text if isinstance(text, bytes) else text.encode()
  (tmp_path / name).write_bytes(data)
  return csv_rows.CsvRows(pathlib.Path(tmp_path / name))


def read(tmp_path, text, name='a.csv'):
  """Returns (place, values or fault) of each row."""
  rows = opened(tmp_path, text, name)
  records = [(rows.place(n), rows.read(n)) for n in range(len(rows))]
  return [
    (place, list(r.values()) if isinstance(r, dict) else str(r))
    for place, r in records
  ]


ODD = ['\u2028', '\u2029', '\x0b', '\x0c', '\x1c', '\x85', '\xa0', '\ufeff']


@pytest.mark.parametrize('character', ODD)
def test_only_line_ends_end_a_row(tmp_path, character):
  cells = [f'a{character}b', character, f'{character}"{character}']
  output = io.StringIO(newline='')
  csv.writer(output).writerows([['x', 'y', 'z'], cells, cells])
  rows = read(tmp_path, output.getvalue())
  assert rows == [('line 2', cells), ('line 3', cells)]


@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
@pytest.mark.parametrize('mark', ['', '\ufeff'])
def test_rows_end_in_any_line_end(tmp_path, end, mark):
  text = f'{mark}"a b",c\n1,"two\nlines"\n\n3,4\n5,6'
  inner = end if end != '\r\n' else '\r\n'
  rows = opened(tmp_path, text.replace('\n', end))
  assert rows.columns == ['a b', 'c']
  assert [rows.read(n) for n in range(3)] == [
    {'a b': '1', 'c': f'two{inner}lines'},
    {'a b': '3', 'c': '4'},
    {'a b': '5', 'c': '6'},
  ]
  assert [rows.place(n) for n in range(3)] == ['line 2', 'line 5', 'line 6']


def test_quotes_inside_a_cell_are_letters(tmp_path):
  rows = read(tmp_path, 'a,b\n1,a 5" ring\n2,3" by 4"\n3,"a ""b"""\n')
  assert [row for _, row in rows] == [
    ['1', 'a 5" ring'],
    ['2', '3" by 4"'],
    ['3', 'a "b"'],
  ]
  tabs = 'a\tb\n1\ta 5" ring, b\n"2"\t"x\ny"\n'
  assert [row for _, row in read(tmp_path, tabs, 'a.tsv')] == [
    ['1', 'a 5" ring, b'],
    ['2', 'x\ny'],
  ]


def test_a_quote_without_its_partner_is_a_fault_of_its_line_alone(tmp_path):
  text = 'a,b\n1,"open\n2,x\n3,"y"\n4,"z" z\n5,w\n6,"end\n7,v\n'
  rows = read(tmp_path, text)
  assert [place for place, _ in rows] == [f'line {n}' for n in range(2, 9)]
  good = {place: row for place, row in rows if isinstance(row, list)}
  assert good == {
    'line 3': ['2', 'x'],
    'line 4': ['3', 'y'],
    'line 6': ['5', 'w'],
    'line 8': ['7', 'v'],
  }
  for place, row in rows:
    assert place in good or row.endswith('a quote may lack its partner')


def test_a_long_open_quote_costs_no_other_row(tmp_path):
  lines = [f'{n},text' for n in range(40_000)]
  lines[7] = '7,"open'
  rows = opened(tmp_path, '\n'.join(['a,b', *lines]))
  assert len(rows) == 40_000
  assert [n for n in range(6, 10) if not isinstance(rows.read(n), dict)] == [7]


@pytest.mark.parametrize(
  'text, fault',
  [
    ('', 'must be UTF-8 text, got an empty file|must have a row of column'),
    ('\n\n', 'must have a row of column names, got none'),
    ('a,b,a\n1,2,3', "must have columns of different names, got 'a' twice"),
    ('a,"b\n1,2', 'line 1: .*a quote may lack its partner'),
    ('a,b\n1,2'.encode('utf-16'), 'must be UTF-8 text, got UTF-16 text'),
    (b'\x1f\x8b\x08\0' + b'\xff' * 99, 'must be UTF-8 text, got a gzip file'),
  ],
)
def test_a_table_that_cannot_be_read_is_one_line(tmp_path, text, fault):
  with pytest.raises(ValueError, match=fault) as error:
    opened(tmp_path, text)
  assert '\n' not in str(error.value)
