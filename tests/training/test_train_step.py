"""The training step: what it changes, and what it never changes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_line
from tiny_line import KEY
from tiny_line import line
from tiny_line import optim
from tiny_line import squares

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.data import pipeline
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.training import pretraining
from hermesflow_jax.training import train_step


def assert_same(actual, expected):
  jax.tree.map(np.testing.assert_array_equal, actual, expected)


def test_a_step_that_is_not_finite_changes_nothing_but_the_step():
  mesh, settings = tiny.mesh(8, 1), optim()
  step = train_step.make_step(squares, settings, KEY, mesh)
  batches = tiny_line.batches(mesh, broken={1})
  state, _ = step(
    train_step.init_state(line, settings, KEY, mesh),
    jnp.float32(1.0),
    next(batches),
  )
  before = jax.device_get(state)
  state, metrics = step(state, jnp.float32(1.0), next(batches))
  assert metrics['train/skipped'] == 1
  assert int(state.step) == 2
  assert_same(state.model, before.model)
  assert_same(state.opt_state, before.opt_state)
  state, metrics = step(state, jnp.float32(1.0), next(batches))
  assert metrics['train/skipped'] == 0 and np.isfinite(metrics['train/loss'])
  assert not np.array_equal(state.model.kernel[...], before.model.kernel[...])


def test_runs_that_differ_in_key_and_schedule_share_a_program():
  mesh = tiny.mesh(1, 1)
  state = tiny_line.state(mesh)

  def make(key=KEY, power=2, **changes):
    return train_step.make_step(
      train_step.hashable_partial(off_by, power=power),
      optim(**changes),
      key,
      mesh,
    )

  def after(step):
    """The kernel, and the draw of the second step."""
    state, batches = tiny_line.state(mesh), tiny_line.batches(mesh)
    for _ in range(2):
      state, metrics = step(state, None, next(batches))
    return np.array(state.model.kernel[...]), float(metrics['draw'])

  def program(step):
    return step.program_and_arguments(state, None)[0]

  first_step, second_step = (
    make(),
    make(jax.random.key(8), lr=0.5, steps=50, warmup=0.3),
  )
  first = program(first_step)
  assert first is program(second_step)
  actual = after(first_step), after(second_step)
  assert first._cache_size() == 1
  assert actual[0][1] != actual[1][1] and (actual[0][0] != actual[1][0]).any()
  # Alone, each is the same.
  train_step._program.cache_clear()
  alone = make(jax.random.key(8), lr=0.5, steps=50, warmup=0.3)
  assert program(alone) is not first
  assert_same(after(alone), actual[1])
  for changes in ({'power': 4}, {'b1': 0.5}, {'clip': 0.1}):
    assert program(make(**changes)) is not program(alone)


def off_by(model, constants, batch, key, *, power):
  del constants
  return jnp.mean((model(batch['x']) - batch['y']) ** power), {
    'draw': jax.random.uniform(key)
  }


def test_a_run_leaves_the_model_it_starts_from_alone():
  mesh, settings = tiny.mesh(8, 1), optim()
  model = jax.device_put(line(KEY), sharding.replicated(mesh))
  kernel = np.array(model.kernel[...])
  state = train_step.state_from_model(model, settings, mesh)
  assert_same(state.model, model)
  step = train_step.make_step(squares, settings, KEY, mesh)
  batches = tiny_line.batches(mesh)
  for _ in range(3):
    state, _ = step(state, jnp.float32(1.0), next(batches))
  np.testing.assert_array_equal(model.kernel[...], kernel)
  assert not np.array_equal(state.model.kernel[...], kernel)


@functools.cache
def show_o_step(mesh):
  """A step of pretraining."""
  loss = functools.partial(
    pretraining.loss,
    mixture=pretraining.TaskMixture(),
    schedule=mask_schedules.cosine,
    image_tokens=tiny.IMAGE_TOKENS,
    reply=tiny.LENGTHS.reply,
  )
  return train_step.make_step(loss, optim(), KEY, mesh)


def show_o_batches(mesh, start=0):
  return pipeline.batches(
    tiny.records(12),
    tiny.flows(pretraining.TaskMixture()),
    seed=0,
    batch=8,
    start=start,
    mesh=mesh,
  )


def show_o_steps(state, steps, mesh):
  batches = show_o_batches(mesh, start=int(state.step))
  every = []
  for _ in range(steps):
    state, metrics = show_o_step(mesh)(state, None, next(batches))
    every.append(metrics)
  return state, jax.device_get(every)


@functools.cache
def first_state():
  """Step 0, on the host."""
  state = train_step.init_state(tiny.show_o, optim(), KEY, tiny.mesh(4, 2))
  return jax.device_get(state)


def start(mesh):
  state = first_state()
  return jax.device_put(state, sharding.shardings(state, mesh))


@functools.cache
def four_steps():
  """Four steps on a mesh of both axes: (the state after each, metrics).

  Both lie on the host, because a step takes its state's memory.
  """
  mesh = tiny.mesh(4, 2)
  state, states, metrics = start(mesh), [], []
  for _ in range(4):
    state, rows = show_o_steps(state, 1, mesh)
    states.append(jax.device_get(state))
    metrics += rows
  return states, metrics


def test_every_mesh_trains_alike():
  mesh = tiny.mesh(1, 1)
  _, actual = show_o_steps(start(mesh), 2, mesh)
  for a, b in zip(actual, four_steps()[1][:2], strict=True):
    for name in b:
      # Sums over devices are taken in another order.
      np.testing.assert_allclose(
        a[name], b[name], atol=1e-6, rtol=1e-6, err_msg=name
      )


def test_states_are_born_and_stay_where_the_rules_say():
  mesh = tiny.mesh(4, 2)
  state = train_step.init_state(tiny.show_o, optim(), KEY, mesh)
  expected = sharding.shardings(state, mesh)
  later, _ = show_o_steps(start(mesh), 1, mesh)
  for placed in state, later:
    same = jax.tree.map(
      lambda a, s: a.sharding.is_equivalent_to(s, a.ndim), placed, expected
    )
    assert all(jax.tree.leaves(same))


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  """The state after two steps, and the folder of its checkpoint."""
  folder = str(tmp_path_factory.mktemp('saved') / '2')
  half = four_steps()[0][1]
  half = jax.device_put(half, sharding.shardings(half, tiny.mesh(4, 2)))
  checkpoint.save(folder, half, {})
  return half, folder


def test_a_resumed_run_is_the_same_bit_for_bit(saved):
  mesh = tiny.mesh(4, 2)
  (half, folder), (states, expected) = saved, four_steps()
  state = checkpoint.restore(folder, half, sharding.shardings(half, mesh))
  state, metrics = show_o_steps(state, 2, mesh)
  assert_same(jax.device_get(state), states[3])
  assert metrics == expected[2:]


def test_a_run_goes_on_on_another_mesh_with_the_same_losses(saved):
  (half, folder), (_, expected) = saved, four_steps()
  other = tiny.mesh(1, 1)
  state = checkpoint.restore(folder, half, sharding.shardings(half, other))
  _, metrics = show_o_steps(state, 2, other)
  for a, b in zip(metrics, expected[2:], strict=True):
    np.testing.assert_allclose(a['train/loss'], b['train/loss'], rtol=1e-6)


def test_a_step_compiles_once():
  mesh = tiny.mesh(4, 2)
  four_steps()
  program, _ = show_o_step(mesh).program_and_arguments(start(mesh), None)
  assert program._cache_size() == 1


def test_steps_on_leaves_are_steps_on_states():
  mesh = tiny.mesh(4, 2)
  states, expected = four_steps()
  state, batches = start(mesh), show_o_batches(mesh)
  structure = jax.tree.structure(state)
  program, (leaves, *arguments) = show_o_step(mesh).program_and_arguments(
    state, None
  )
  rows = []
  for _ in range(3):
    leaves, metrics = program(leaves, *arguments, next(batches))
    rows.append(metrics)
  assert_same(jax.device_get(rows), expected[:3])
  state = jax.tree.unflatten(structure, leaves)
  assert int(state.step) == 3
  assert_same(jax.device_get(state), states[2])
