"""Records of files in every form that scripts write."""

import json

import pytest

from hermesflow_jax.runtime import strict_json

ROWS = [
  {'id': 0, 'text': 'a, {b}\n[c]'},
  {'id': 1, 'deep': [{'x': None}]},
  {'id': 2},
]


def appended(rows):
  """As HermesFlow's scripts write: one object after the other."""
  return ''.join(json.dumps(r, indent=4) + ',\n' for r in rows)


FORMS = {
  'lines': ''.join(json.dumps(r) + '\n' for r in ROWS),
  'lines with commas': ''.join(json.dumps(r) + ',\n' for r in ROWS),
  'lines of Windows': ''.join(json.dumps(r) + '\r\n' for r in ROWS),
  'lines with blanks': '\n\n'.join(json.dumps(r) for r in ROWS) + '\n\n',
  'a list in a line': json.dumps(ROWS),
  'a list over lines': json.dumps(ROWS, indent=1),
  # The form that HermesFlow's README shows.
  'a list with a comma behind': '[\n' + appended(ROWS) + ']\n',
  'objects with commas': appended(ROWS),
  'objects without commas': appended(ROWS).replace('},\n{', '}\n{'),
}


def read(text):
  return list(strict_json.records(text))


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('mark', ['', '\ufeff'])
def test_a_form_changes_nothing(form, mark):
  assert [value for _, value in read(mark + FORMS[form])] == ROWS


def test_a_record_has_a_place():
  assert [p for p, _ in read(FORMS['lines with blanks'])] == [
    'line 1',
    'line 3',
    'line 5',
  ]
  assert [p for p, _ in read(FORMS['objects with commas'])] == [
    'record 1 (line 1)',
    'record 2 (line 5)',
    'record 3 (line 13)',
  ]


@pytest.mark.parametrize(
  'broken, message',
  [
    ('"id": 1,', 'Expecting'),
    ('"id": NaN,', 'NaN is not JSON'),
    ('"deep": 1,', "duplicate key: 'deep'"),
  ],
)
@pytest.mark.parametrize(
  'form',
  [
    'lines',
    'a list over lines',
    'objects with commas',
    'a list with a comma behind',
  ],
)
def test_a_fault_leaves_the_other_records(form, broken, message):
  wrong = '"id": 1 x,' if message == 'Expecting' else broken
  first, fault, last = read(FORMS[form].replace('"id": 1,', wrong))
  assert first[1] == ROWS[0] and last[1] == ROWS[2]
  assert isinstance(fault[1], ValueError) and message in str(fault[1])


def test_what_cannot_be_found_again_is_said():
  _, fault = read('[{"a": 1}, {"b":}, {"c": 1}]')
  assert 'nothing behind it can be read' in str(fault[1])
  _, end = read('[{"a": 1}')
  assert end[0] == 'the end' and 'has no end' in str(end[1])
  _, end = read('[{"a": 1}] {"b": 2}')
  assert 'stands behind the list' in str(end[1])


@pytest.mark.parametrize('text', ['', '\n', '[]', '[\n]', '\ufeff'])
def test_nothing_holds_no_record(text):
  assert not read(text)


def test_nesting_without_end_is_a_fault():
  ((_, fault),) = read('[' * 100_000)
  assert 'nested too deeply' in str(fault)
