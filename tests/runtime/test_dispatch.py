"""The host does not start more steps than a platform can take."""

import jax
import pytest
import tiny
import tiny_line
import tiny_runs

from hermesflow_jax.runtime import dispatch
from hermesflow_jax.training import training_loop


@pytest.mark.parametrize(
  'platform, ended', [('cpu', [1, 2, 3, 4]), ('tpu', []), ('gpu', [])]
)
def test_a_step_ends_before_the_second_next_starts(
  monkeypatch, platform, ended
):
  """Several CPU devices would stop for ever; see `runtime.dispatch`."""
  mesh, started, waits = tiny.mesh(8, 1), [], []

  def batches(start):
    for batch in tiny_line.batches(mesh, (), start):
      started.append(len(started) + 1)
      yield batch

  run = tiny_runs.training_run(mesh, 5, loop={'log_every': 5}, batches=batches)
  state = tiny_line.state(mesh)
  monkeypatch.setattr(jax, 'default_backend', lambda: platform)
  monkeypatch.setattr(
    jax, 'block_until_ready', lambda _: waits.append(started[-1] - 1)
  )
  training_loop.run_loop(run, training_loop.Hooks(lambda *_: None), state)
  assert waits == ended and started[-1] == 5


def test_steps_in_flight_stay_below_the_limit_of_xla():
  """32 programs on a CPU; fine-tuning has three a step."""
  assert 3 * dispatch.max_steps_in_flight() < 32
