"""The compiled training step, with the loss as an argument.

Every job (tokenizer, pretraining, Pair-DPO) brings a loss function
`loss(model, constants, batch, key) -> (scalar, metrics)`. This module adds the
gradient, AdamW, and placement on the mesh, and skips non-finite steps.
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
from hermesflow_jax.training import batch_parts


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RunInputs:
  """Per-run inputs of the compiled step: random key and learning-rate schedule.

  Runs that differ only in these share a program.

  Attributes:
    key: uint32, random key data.
    schedule: float32[4] from `AdamWConfig.schedule`.
  """

  key: np.ndarray
  schedule: np.ndarray


def run_inputs(optim: adamw.AdamWConfig, key: jax.Array) -> RunInputs:
  """Returns the per-run inputs for an optimizer and a random key."""
  return RunInputs(np.asarray(jax.random.key_data(key)), optim.schedule())


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """Training state between two steps; checkpoints hold these fields.

  Attributes:
    step: int32[], steps done.
    model: trained parameters, a pytree.
    opt_state: optimizer state.
  """

  step: jax.Array
  model: Any
  opt_state: Any


def init_state(
  make_model: Callable[[jax.Array], Any], optim: adamw.AdamWConfig, key, mesh
) -> TrainState:
  """Initializes a new model and its optimizer directly on the mesh.

  Args:
    make_model: random key -> model.
    optim: optimizer.
    key: random key for the parameters.
    mesh: device mesh.
  """
  return _placed_state(make_model, key, optim, mesh)


def state_from_model(model, optim: adamw.AdamWConfig, mesh) -> TrainState:
  """Returns the state at step 0 for an existing model, with a copy of it."""
  return _placed_state(_unchanged, model, optim, mesh)


def _unchanged(model):
  return model


def _placed_state(make_model, source, optim, mesh):
  """Returns the state at step 0, with `make_model(source)`, on the mesh."""
  leaves, structure = jax.tree.flatten(source)
  shapes = tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in leaves)
  program = _start_program(
    make_model, _without_schedule(optim), mesh, structure, shapes
  )
  return program(source)


@functools.lru_cache(maxsize=16)
def _start_program(make_model, optim, mesh, structure, shapes):
  """Returns the jitted function from the source to the state at step 0."""
  optimizer = optim.make()

  def init(source):
    model = make_model(source)
    return TrainState(jnp.zeros((), jnp.int32), model, optimizer.init(model))

  state = jax.eval_shape(init, jax.tree.unflatten(structure, shapes))
  return jax.jit(init, out_shardings=sharding.shardings(state, mesh))


def _without_schedule(optim):
  """Returns the optimizer's settings that programs depend on.

  The schedule is an argument, so runs with other rates share programs.
  """
  return dataclasses.replace(optim, lr=1.0, steps=1, warmup=0.0, final=0.0)


@dataclasses.dataclass(frozen=True)
class HashablePartial:
  """A partial function that equals another with equal arguments.

  `functools.partial` objects are equal only if identical, so each would
  compile again.
  """

  function: Callable
  arguments: tuple[tuple[str, Any], ...]

  def __call__(self, *args, **kwargs):
    """Calls the function with its bound and these arguments."""
    return self.function(*args, **dict(self.arguments), **kwargs)


def hashable_partial(function: Callable, **arguments) -> HashablePartial:
  """Returns `function` with these hashable arguments bound."""
  return HashablePartial(function, tuple(sorted(arguments.items())))


@dataclasses.dataclass(frozen=True)
class TrainStep:
  """A compiled training step; `make_step` builds it.

  Attributes:
    program: tree structures of state and constants -> jitted step.
    inputs: per-run inputs.
  """

  program: Callable
  inputs: RunInputs

  def __call__(self, state: TrainState, constants, batch):
    """Runs a single step.

    Args:
      state: current state; its arrays are donated.
      constants: further loss arguments, e.g. a frozen reference.
      batch: device batch.

    Returns:
      (next state, {name: float32[]}).
    """
    program, arguments = self.program_and_arguments(state, constants)
    leaves, metrics = program(*arguments, batch)
    return jax.tree.unflatten(jax.tree.structure(state), leaves), metrics

  def program_and_arguments(
    self, state: TrainState, constants
  ) -> tuple[Callable, tuple]:
    """Returns the jitted step and its arguments without the batch.

    `program(leaves, *arguments[1:], batch)` returns (leaves of the next state,
    metrics). A loop that keeps leaves between steps saves the host from
    flattening modules at each step, which costs more than the dispatch itself.

    Args:
      state: arrays or shapes. Its leaves are the first argument, and donated.
      constants: further loss arguments, arrays or shapes.
    """
    leaves, structure = jax.tree.flatten(state)
    constant_leaves, constant_structure = jax.tree.flatten(constants)
    return self.program(structure, constant_structure), (
      leaves,
      constant_leaves,
      self.inputs,
    )


def make_step(
  loss: Callable,
  optim: adamw.AdamWConfig,
  key: jax.Array,
  mesh,
  prepare: Callable | None = None,
  parts: int = 1,
) -> TrainStep:
  """Returns the training step for a loss.

  Steps that differ only in key, learning-rate schedule and run length share a
  program, if `loss` and `prepare` are equal (see `hashable_partial`). It is
  compiled once for each batch shape.

  Args:
    loss: (model, constants, batch, key) -> (scalar, {name: scalar}).
    optim: optimizer.
    key: random key; step n uses `fold_in(key, n)`.
    mesh: device mesh; the state stays where `sharding` places it.
    prepare: (batch, key) -> batch, called on the whole batch. With it, losses
      and metrics must add up over batch parts, as `AdamWConfig.accumulate`
      needs.
    parts: rows that `prepare` makes per row, computed in turn.

  Returns:
    A step that leaves model and optimizer unchanged and reports
    `train/skipped` = 1 if the loss, the gradient or the update is not finite.
    Skipped steps count in the schedule.

  Raises:
    ValueError: accumulate is above 1 without `prepare`.
  """
  assert prepare or parts == 1
  if optim.accumulate > 1 and prepare is None:
    raise ValueError(
      'accumulate must be 1 for a loss that does not add up over records, '
      f'got {optim.accumulate}'
    )
  implementation = str(jax.random.key_impl(key))
  return TrainStep(
    functools.partial(
      _program,
      loss,
      _without_schedule(optim),
      implementation,
      mesh,
      prepare,
      parts,
    ),
    run_inputs(optim, key),
  )


# Enough for all arms of a comparison, which takes turns seed by seed.
@functools.lru_cache(maxsize=16)
def _program(
  loss,
  optim,
  implementation,
  mesh,
  prepare,
  parts,
  structure,
  constant_structure,
):
  """Returns the jitted step for these tree structures."""
  optimizer, parts = optim.make(), optim.accumulate * parts
  value_and_grad = jax.value_and_grad(loss, has_aux=True)

  def step(leaves, constant_leaves, inputs: RunInputs, batch):
    state = jax.tree.unflatten(structure, leaves)
    constants = jax.tree.unflatten(constant_structure, constant_leaves)
    key = jax.random.wrap_key_data(inputs.key, impl=implementation)
    step_key = jax.random.fold_in(key, state.step)
    # `sharding.constrain` looks for the mesh in this context.
    with sharding.use_mesh(mesh):
      if prepare:
        batch = prepare(batch, step_key)

      def loss_and_gradient(batch):
        return value_and_grad(state.model, constants, batch, step_key)

      (value, metrics), grads = batch_parts.sum_over_parts(
        loss_and_gradient, batch, parts, mesh.shape['data']
      )
    norm = optax.tree.norm(grads)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.model)
    lr = adamw.learning_rate(state.step, inputs.schedule)
    updates = jax.tree.map(lambda update: -lr * update, updates)
    finite = functools.reduce(
      jnp.logical_and,
      map(jnp.isfinite, (value, norm, optax.tree.norm(updates))),
    )
    model = optax.apply_updates(state.model, updates)

    def choose(new, old):
      return jnp.where(finite, new, old)

    after = TrainState(
      state.step + 1,
      jax.tree.map(choose, model, state.model),
      jax.tree.map(choose, opt_state, state.opt_state),
    )
    # Otherwise the compiler may place the next state elsewhere, and the next
    # call would compile again.
    after = jax.lax.with_sharding_constraint(
      after, sharding.shardings(after, mesh)
    )
    metrics = metrics | {
      'train/loss': value,
      'train/grad_norm': norm,
      'train/lr': lr,
      'train/skipped': 1.0 - finite,
    }
    return jax.tree.leaves(after), metrics

  return jax.jit(step, donate_argnums=0)
