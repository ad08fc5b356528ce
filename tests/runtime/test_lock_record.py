"""A record in a lock says whether its process runs, or that nobody knows."""

import time

import pytest

from hermesflow_jax.runtime import lock_record


@pytest.mark.parametrize('unknown', ['of another user', '', None])
def test_a_process_whose_begin_is_not_known_is_watched(monkeypatch, unknown):
  """Under `hidepid`, /proc hides processes of other users."""
  record = lock_record.parse(lock_record.own(time.time(), 'a'))
  assert lock_record.is_running(record) is True
  if unknown:

    def hidden(*_, **__):
      raise FileNotFoundError

    monkeypatch.setattr(lock_record.pathlib.Path, 'read_text', hidden)
  else:
    record['ticks'] = unknown
  assert lock_record.is_running(record) is None
  for number in (2**22 + 1, 2**99):
    record['process'] = number  # Larger than any.
    assert lock_record.is_running(record) is False
