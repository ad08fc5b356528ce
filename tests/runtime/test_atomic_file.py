"""A file appears complete, whoever writes it beside this process."""

import concurrent.futures
import os

import pytest

from hermesflow_jax.runtime import atomic_file


def test_a_failed_write_leaves_the_file_of_another_process_alone(
  tmp_path, monkeypatch
):
  """The folder had no locks, and another process was first."""
  temporary = tmp_path / 'a.tmp'

  def lost(source, target):
    source.rename(target)
    temporary.write_bytes(b'of another')
    raise FileNotFoundError(2, 'No such file', str(source))

  monkeypatch.setattr(os, 'replace', lost)
  with pytest.raises(FileNotFoundError):
    atomic_file.write(tmp_path / 'a', b'data')
  assert temporary.read_bytes() == b'of another'


def test_processes_that_write_a_file_at_once_take_turns(tmp_path):
  """Threads open it as processes do; what they write is never mixed."""
  file = tmp_path / 'a'

  def write(number):
    atomic_file.write(file, bytes([number]) * 99_999)
    assert len(set(file.read_bytes())) == 1

  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    list(pool.map(write, range(64)))
  assert list(tmp_path.iterdir()) == [file]
