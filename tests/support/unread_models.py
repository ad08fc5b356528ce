"""What a finished run must not do is an error."""

import sys

from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.runtime import processes


def refuse_reading(monkeypatch) -> None:
  """Makes every job fail that reads weights or imports transformers.

  Both are slow, and a finished run should say so at once.

  A broadcast within another one is an error, too, also in a single process: the
  function of the outer one runs in the first process alone, and with several
  processes the inner one would wait forever for the others.
  """

  def read(*args, **options):
    raise AssertionError('a finished run needs no model')

  monkeypatch.setattr(job_model, 'load_parts', read)
  monkeypatch.setitem(sys.modules, 'transformers', None)
  broadcast, running = processes.broadcast_from_first, []

  def not_nested(ask):
    assert not running, 'the first process alone broadcasts'
    running.append(ask)
    try:
      return broadcast(ask)
    finally:
      running.pop()

  monkeypatch.setattr(processes, 'broadcast_from_first', not_nested)
