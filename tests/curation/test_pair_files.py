"""Pairs are written and read a line at a time."""

import memory_growth
import numpy as np
import pytest

from hermesflow_jax.curation import pair_files
from hermesflow_jax.curation import pair_records
from hermesflow_jax.curation import pair_selection
from hermesflow_jax.data import input_set
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import output_files

SIZE = 256


def inputs_and_pairs(count):
  codes = np.arange(300, 300 + SIZE, dtype=np.int32)
  names = [str(n) for n in range(count)]
  pair = pair_selection.ScoredCandidate
  pairs = {
    name: (
      pair_selection.Pair(pair('a', 1.0), pair('b', 0.5)),
      pair_selection.Pair(pair(codes, 1.0), pair(codes + 1, 0.0), 'weak'),
    )
    for name in names
  }
  real = np.tile(codes, (count, 1))
  return input_set.Inputs(names, names, names, [[]] * count, real), pairs


def test_records_are_those_of_all_inputs():
  inputs, pairs = inputs_and_pairs(3)
  expected = [
    pair_files.pair_to_record(name, name, pairs[name])
    | {'codes': inputs.codes[n].tolist()}
    for n, name in enumerate(inputs.ids)
  ]
  records = pair_records.PairRecords(inputs, pairs, with_real_codes=True)
  assert list(records) == expected and len(records) == 3
  assert 'codes' not in pair_records.PairRecords(inputs, pairs)[0]


@pytest.mark.parametrize('place', ['memory', 'disk'])
def test_memory_holds_the_lists_of_a_pair_at_a_time(
  tmp_path, monkeypatch, place
):
  if place == 'disk':
    monkeypatch.setattr(disk_objects, 'MOST', 5)
  data = {count: inputs_and_pairs(count) for count in (10, 210)}

  def write(count):
    output_files.write_json_lines(
      tmp_path / str(count) / 'pairs.jsonl',
      pair_records.PairRecords(*data[count], with_real_codes=True),
    )

  memory_growth.check_below(1_000, write, 10, 210)
  assert (tmp_path / '10' / 'pairs.jsonl').read_text() == (
    output_files.json_lines(
      list(pair_records.PairRecords(*data[10], with_real_codes=True))
    )
  )

  def read(count):
    return pair_files.read_pairs(tmp_path / str(count))

  # Two arrays of codes; the lists of their numbers have 36 bytes a code. On disk
  # the names stay in memory, and what Python keeps of the first few objects.
  bound = 1_000 if place == 'disk' else 2 * SIZE * 4 + 2_000
  memory_growth.check_below(bound, read, 10, 210)
  assert pair_files.drop_counts(read(10)) == pair_files.drop_counts(data[10][1])


def test_a_number_that_json_lacks_leaves_no_file(tmp_path):
  rows = [{'a': 1.0}, {'a': float('nan')}]
  with pytest.raises(ValueError):
    output_files.write_json_lines(tmp_path / 'a.jsonl', rows)
  assert not list(tmp_path.iterdir())
