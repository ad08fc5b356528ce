"""Processes on this machine send their results, or the error that they had."""

import multiprocessing
import os

import jax
import pytest

from hermesflow_jax.jobs.setup import local_processes
from hermesflow_jax.jobs.setup import process_group


@pytest.fixture
def pipe():
  receiver, sender = multiprocessing.Pipe(duplex=False)
  yield receiver, sender
  receiver.close()
  sender.close()


def test_a_process_joins_before_it_computes(pipe, monkeypatch):
  receiver, sender = pipe
  calls = []
  monkeypatch.setenv('XLA_FLAGS', os.environ['XLA_FLAGS'])
  monkeypatch.setattr(jax.config, 'update', lambda *values: None)
  monkeypatch.setattr(
    process_group, 'join', lambda *values: calls.append(values)
  )

  def compute(value):
    calls.append(value)
    return 2 * value

  local_processes._run(sender, 'localhost:1', 1, 2, compute, (3,))
  assert calls == [('localhost:1', 1, 2, 120.0), 3]
  assert local_processes._receive(receiver) == 6


def test_an_error_has_a_line(pipe, monkeypatch):
  receiver, sender = pipe
  monkeypatch.setenv('XLA_FLAGS', os.environ['XLA_FLAGS'])
  monkeypatch.setattr(jax.config, 'update', lambda *values: None)

  def refuse(*values):
    raise ValueError('two\nlines')

  monkeypatch.setattr(process_group, 'join', refuse)
  local_processes._run(sender, 'localhost:1', 0, 1, abs, (3,))
  with pytest.raises(ValueError, match='got an error: ValueError: two lines'):
    local_processes._receive(receiver)


def test_a_process_that_dies_has_no_result(pipe):
  receiver, sender = pipe
  sender.close()
  with pytest.raises(ValueError, match='it ended without a result'):
    local_processes._receive(receiver)
