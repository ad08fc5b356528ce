"""A shard is there whole or not at all."""

import os

import pytest

from hermesflow_jax.curation import shards

FILES = {'jsonl': b'{"a": 1}\n', 'npz': b'\x00\x01\x02'}


@pytest.fixture
def store(tmp_path):
  store = shards.Shards(tmp_path / 'shards', 7)
  for number in (0, 3):
    store.write(number, FILES, {'inputs': number})
  return store


def test_what_was_written_is_there(store):
  assert store.facts(3)['inputs'] == 3
  assert {s: store.read(3, s) for s in FILES} == FILES
  assert store.missing() == [1, 2, 4, 5, 6]


def test_shares_divide_what_is_missing(store):
  shares = [store.missing(share, 3) for share in range(3)]
  assert shares == [[6], [1, 4], [2, 5]]


@pytest.mark.parametrize('suffix', [*FILES, 'record.json'])
@pytest.mark.parametrize('harm', ['gone', 'cut', 'changed'])
def test_a_damaged_shard_is_not_there(store, suffix, harm):
  path = store.path(3, suffix)
  data = path.read_bytes()
  if harm == 'gone':
    path.unlink()
  else:
    path.write_bytes(data[:-2] if harm == 'cut' else b'7' + data[1:])
  assert store.missing() == [1, 2, 3, 4, 5, 6]
  store.write(3, FILES, {'inputs': 3})
  assert store.missing() == [1, 2, 4, 5, 6]


def test_a_stop_at_any_write_leaves_no_half_shard(store, monkeypatch):
  replace = os.replace
  for allowed in range(3):
    left = [allowed]

    def counted(source, target, left=left):
      if not left[0]:
        raise KeyboardInterrupt
      left[0] -= 1
      replace(source, target)

    monkeypatch.setattr(os, 'replace', counted)
    with pytest.raises(KeyboardInterrupt):
      store.write(1, FILES, {})
    assert store.facts(1) is None


@pytest.mark.parametrize(
  'count, size, spans',
  [
    (5, 2, [(0, 2), (2, 4), (4, 5)]),
    (4, 2, [(0, 2), (2, 4)]),
    (1, 9, [(0, 1)]),
  ],
)
def test_spans_hold_each_input_once(count, size, spans):
  assert [(s.start, s.stop) for s in shards.shard_slices(count, size)] == spans
