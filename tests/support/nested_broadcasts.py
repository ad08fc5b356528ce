"""Calls of all processes that would be made by the first process alone."""

from hermesflow_jax.runtime import processes


def refuse(monkeypatch) -> None:
  """Makes a broadcast within another one an error, also in a single process.

  The function of the outer one runs in the first process alone. With several
  processes the inner one would wait forever for the others.
  """
  broadcast, running = processes.broadcast_from_first, []

  def not_nested(ask):
    assert not running, 'the first process alone broadcasts'
    running.append(ask)
    try:
      return broadcast(ask)
    finally:
      running.pop()

  monkeypatch.setattr(processes, 'broadcast_from_first', not_nested)
