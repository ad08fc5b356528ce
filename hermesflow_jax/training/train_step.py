"""The training step; the loss is an argument.

Every job (tokenizer, pretraining, Pair-DPO) brings
`loss(model, constants, batch, key) -> (scalar, metrics)`; state, placement,
clipping and skipping of non-finite steps are here, once.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hermesflow_jax.runtime import sharding
from hermesflow_jax.training import adamw


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RunInputs:
  """In what runs of one program may differ.

  Attributes:
    key: uint32 data of the run's random key.
    pace: float32[4] of `adamw.AdamWConfig.pace`.
  """

  key: np.ndarray
  pace: np.ndarray


def run_inputs(optim: adamw.AdamWConfig, key: jax.Array) -> RunInputs:
  """Returns the dials of a run."""
  return RunInputs(np.asarray(jax.random.key_data(key)), optim.pace())


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """What a run needs to go on: int32 step, the model, the optimizer's state."""

  step: jax.Array
  model: Any
  opt_state: Any


def init_state(
  make_model: Callable[[jax.Array], Any], optim: adamw.AdamWConfig, key, mesh
):
  """Builds the state where it will live, never whole on one device.

  Args:
    make_model: key -> module.
    optim: the optimizer.
    key: random key of the parameters.
    mesh: from `sharding.make_mesh`.
  """
  return _placed(make_model, key, optim, mesh)


def start_state(model, optim: adamw.AdamWConfig, mesh) -> TrainState:
  """Returns step 0 of a run that starts from `model` (copied)."""
  return _placed(lambda model: model, model, optim, mesh)


def _placed(make_model, source, optim, mesh):
  """Step 0 of the model that `make_model` makes of `source`."""
  optimizer = optim.make()

  def init(source):
    model = make_model(source)
    return TrainState(jnp.zeros((), jnp.int32), model, optimizer.init(model))

  placed = sharding.shardings(jax.eval_shape(init, source), mesh)
  return jax.jit(init, out_shardings=placed)(source)


@dataclasses.dataclass(frozen=True)
class HashablePartial:
  """A function with some of its arguments; equal, if these are.

  A `functools.partial` is equal to no other, and a program that was compiled
  from it is not found again.
  """

  function: Callable
  arguments: tuple[tuple[str, Any], ...]

  def __call__(self, *args, **kwargs):
    return self.function(*args, **dict(self.arguments), **kwargs)


def hashable_partial(function: Callable, **arguments) -> HashablePartial:
  """Returns the function with these arguments, which are hashable."""
  return HashablePartial(function, tuple(sorted(arguments.items())))


class Run:
  """Steps one after the other.

  It keeps leaves: taking modules apart and together again at each step costs
  the host more than all else that a step asks of it.
  """

  def __init__(self, call: Callable, leaves: list, structure):
    self._call, self._leaves, self._structure = call, leaves, structure

  def __call__(self, batch) -> dict[str, jax.Array]:
    """Makes a step; returns its metrics."""
    self._leaves, metrics = self._call(self._leaves, batch)
    return metrics

  @property
  def state(self) -> TrainState:
    """After the last step; its arrays are those that the next takes away."""
    return jax.tree.unflatten(self._structure, self._leaves)


class Step:
  """A step of gradient descent; see `make_step`."""

  def __init__(self, make: Callable, dials: RunInputs):
    self._make, self._dials = make, dials

  def begin(self, state: TrainState, constants) -> Run:
    """Returns a run from this state, whose arrays it takes away."""
    program, (leaves, frozen, dials) = self.parts(state, constants)
    return Run(
      lambda leaves, batch: program(leaves, frozen, dials, batch),
      leaves,
      jax.tree.structure(state),
    )

  def parts(self, state: TrainState, constants) -> tuple[Callable, tuple]:
    """Returns the program, jitted, and all its arguments but the last.

    That is a batch; it returns what stands for the first, and metrics.

    Args:
      state: arrays or shapes; the first argument, which is donated.
      constants: of the loss.
    """
    leaves, structure = jax.tree.flatten(state)
    frozen, fixed = jax.tree.flatten(constants)
    return self._make(structure, fixed), (leaves, frozen, self._dials)

  def __call__(self, state: TrainState, constants, batch):
    """Makes one step of its own: returns (state, metrics)."""
    run = self.begin(state, constants)
    metrics = run(batch)
    return run.state, metrics


def make_step(
  loss: Callable,
  optim: adamw.AdamWConfig,
  key: jax.Array,
  mesh,
  prepare: Callable | None = None,
) -> Step:
  """Returns one step of gradient descent.

  Steps that differ only in the key, the rate and the number of steps are one
  program, compiled once for each shape of batches, where loss and prepare are
  equal: see `hashable_partial`. A step that is skipped counts in the schedule.

  Args:
    loss: (model, constants, batch, key) -> (scalar, dict of scalars).
    optim: the optimizer.
    key: the run's key; step n uses `fold_in(key, n)`.
    mesh: where the state lives, and stays.
    prepare: (batch, key) -> batch; sees the whole batch. With it, the losses
      and metrics of parts of the batch add up to those of the whole, which
      `adamw.accumulate` wants.

  Returns:
    The step. A step whose loss, gradient or update is not finite changes
    nothing but the step number and reports `train/skipped` = 1.

  Raises:
    ValueError: the batch is to be computed in parts, but these do not add up.
  """
  if optim.accumulate > 1 and prepare is None:
    raise ValueError(
      f'accumulate is {optim.accumulate}, but this loss is no sum over '
      'records: wanted 1'
    )
  # What the dials say is no part of the program.
  alike = dataclasses.replace(optim, lr=1.0, steps=1, warmup=0.0, final=0.0)
  implementation = str(jax.random.key_impl(key))
  return Step(
    functools.partial(_program, loss, alike, implementation, mesh, prepare),
    run_inputs(optim, key),
  )


# As many as the arms of a comparison want, one seed after the other.
@functools.lru_cache(maxsize=16)
def _program(loss, optim, implementation, mesh, prepare, structure, fixed):
  """The jitted step of leaves of these structures; the last few are kept."""
  optimizer = optim.make()
  value_and_grad = jax.value_and_grad(loss, has_aux=True)

  def step(leaves, frozen, dials: RunInputs, batch):
    state = jax.tree.unflatten(structure, leaves)
    constants = jax.tree.unflatten(fixed, frozen)
    key = jax.random.wrap_key_data(dials.key, impl=implementation)
    step_key = jax.random.fold_in(key, state.step)
    # Inside, `sharding.constrain` knows the mesh.
    with sharding.use_mesh(mesh):
      if prepare:
        batch = prepare(batch, step_key)

      def found(batch):
        return value_and_grad(state.model, constants, batch, step_key)

      if optim.accumulate == 1:
        (value, metrics), grads = found(batch)
      else:
        (value, metrics), grads = sum_over_parts(
          found, batch, optim.accumulate, mesh.shape['data']
        )
    norm = optax.tree.norm(grads)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.model)
    lr = adamw.learning_rate(state.step, dials.pace)
    updates = jax.tree.map(lambda update: -lr * update, updates)
    fine = functools.reduce(
      jnp.logical_and,
      map(jnp.isfinite, (value, norm, optax.tree.norm(updates))),
    )
    model = optax.apply_updates(state.model, updates)

    def choose(new, old):
      return jnp.where(fine, new, old)

    after = TrainState(
      state.step + 1,
      jax.tree.map(choose, model, state.model),
      jax.tree.map(choose, opt_state, state.opt_state),
    )
    # Left alone, the compiler may place the new state elsewhere, and the next
    # call compiles again.
    after = jax.lax.with_sharding_constraint(
      after, sharding.shardings(after, mesh)
    )
    metrics = metrics | {
      'train/loss': value,
      'train/grad_norm': norm,
      'train/lr': lr,
      'train/skipped': 1.0 - fine,
    }
    return jax.tree.leaves(after), metrics

  return jax.jit(step, donate_argnums=0)


def sum_over_parts(function: Callable, batch, parts: int, data: int):
  """Returns the sum of a function's results over parts of a batch.

  Args:
    function: of a batch.
    batch: pytree of arrays [B, ...].
    parts: equal parts, one after the other; each has rows of every device.
    data: devices among which rows are split.

  Raises:
    ValueError: they are not equal.
  """
  size = len(jax.tree.leaves(batch)[0])
  if size % (parts * data):
    raise ValueError(
      f'batch {size} does not split into {parts} parts over data={data}'
    )

  def split(a):
    return jnp.moveaxis(a.reshape(size // parts, parts, *a.shape[1:]), 1, 0)

  def add(total, part):
    return jax.tree.map(jnp.add, total, function(part)), None

  batch = jax.tree.map(split, batch)
  zeros = jax.tree.map(
    lambda a: jnp.zeros(a.shape, a.dtype),
    jax.eval_shape(function, jax.tree.map(lambda a: a[0], batch)),
  )
  return jax.lax.scan(add, zeros, batch)[0]
