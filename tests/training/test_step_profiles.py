"""Steps of training are profiled where it is asked for."""

import jax
import pytest
import tiny
import tiny_line
import tiny_runs

from hermesflow_jax.training import training_loop


@pytest.fixture
def without_hlo(monkeypatch):
  """Leaves out the operations of all programs of this process.

  To write them takes seconds; the first test does so, as users do.
  """
  options = jax.profiler.ProfileOptions()
  options.enable_hlo_proto = False
  start = jax.profiler.start_trace
  monkeypatch.setattr(
    jax.profiler,
    'start_trace',
    lambda folder: start(folder, profiler_options=options),
  )


def run(steps, folder, profile, **hooks):
  """Trains, and profiles the steps from profile[0] to before profile[1]."""
  mesh = tiny.mesh(8, 1)
  loop = {'log_every': 1, 'profile': profile}
  training_loop.run_loop(
    tiny_runs.training_run(mesh, steps, loop=loop),
    training_loop.Hooks(
      log=lambda step, metrics: None, trace=str(folder), **hooks
    ),
    tiny_line.state(mesh),
  )


def test_steps_are_traced_where_asked(tmp_path):
  run(5, tmp_path, (2, 4))
  assert list(tmp_path.rglob('*.xplane.pb'))


@pytest.mark.usefixtures('without_hlo')
def test_a_profile_is_written_also_of_a_run_that_ends_within_it(tmp_path):
  def stop():
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    run(5, tmp_path, (0, 4), stop=stop)
  assert list(tmp_path.rglob('*.xplane.pb'))
  run(5, tmp_path / 'next', (0, 9))
  assert list((tmp_path / 'next').rglob('*.xplane.pb'))


@pytest.mark.usefixtures('without_hlo')
def test_a_profile_comes_into_a_bucket(bucket):
  run(5, 'gs://bucket/run/profile', (2, 4))
  assert any(
    name.endswith('.xplane.pb') for name in bucket.names('run/profile/')
  )
