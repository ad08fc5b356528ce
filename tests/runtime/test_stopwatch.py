"""Where time goes."""

import pytest

from hermesflow_jax.runtime import timing


class Now:
  """A clock that is set."""

  time = 10.0

  def __call__(self):
    return self.time


def test_shares_add_up_and_compiling_is_a_part_of_its_own():
  now = Now()
  watch = timing.Stopwatch(now)
  with watch.part('data'):
    now.time += 1
  with watch.part('step'):
    now.time += 6
    watch.listen('/jax/core/compile/backend_compile_duration', 4.0)
    watch.listen('/jax/other/compile', 100.0)
  now.time += 1
  with watch.part('data'):
    now.time += 2
  assert watch.lap() == {'data': 0.3, 'step': 0.2, 'compile': 0.4, 'rest': 0.1}
  assert watch.seconds == 10
  now.time += 5
  assert watch.lap() == {'compile': 0.0, 'rest': 1.0}


def test_what_is_raised_in_a_part_counts_too():
  now = Now()
  watch = timing.Stopwatch(now)
  with pytest.raises(OSError), watch.part('data'):
    now.time += 3
    raise OSError
  assert watch.lap()['data'] == 1.0


def test_what_is_traced_within_another_counts_once():
  now = Now()
  watch = timing.Stopwatch(now)
  with watch.part('step'):
    for seconds in (1, 2):
      now.time += seconds
      watch.listen('/jax/core/compile/jaxpr_trace_duration', seconds)
    now.time += 1
    # It began with the first of the two.
    watch.listen('/jax/core/compile/jaxpr_trace_duration', 4.0)
    now.time += 4
    watch.listen('/jax/core/compile/backend_compile_duration', 4.0)
    now.time += 2
  assert watch.lap() == pytest.approx(
    {'step': 0.2, 'compile': 0.8, 'rest': 0.0}
  )
