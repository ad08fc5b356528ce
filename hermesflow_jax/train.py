"""The training step and its loop; the loss is an argument.

Every job (tokenizer, pretraining, Pair-DPO) brings
`loss(model, constants, batch, key) -> (scalar, metrics)`; state, placement,
clipping, skipping of non-finite steps and logging are here, once.
"""

from collections.abc import Callable, Iterable
import dataclasses
import math
import re
import time
from typing import Any

import jax
import jax.numpy as jnp
import optax

from hermesflow_jax import sharding


@dataclasses.dataclass(frozen=True)
class Optim:
  """AdamW with warm-up and cosine decay.

  Attributes:
    lr: peak learning rate.
    steps: length of the run.
    warmup: share of the steps in which the rate rises from 0.
    final: the rate at the end, as a share of the peak.
    b1, b2, eps: of Adam.
    weight_decay: of kernels and embeddings; none on biases and norms.
    clip: global norm above which gradients are scaled down.
  """

  lr: float
  steps: int
  warmup: float = 0.05
  final: float = 0.0
  b1: float = 0.9
  b2: float = 0.999
  eps: float = 1e-8
  weight_decay: float = 0.01
  clip: float = 1.0

  def schedule(self) -> optax.Schedule:
    """Returns the learning rate as a function of the step."""
    warmup = math.ceil(self.warmup * self.steps)
    return optax.warmup_cosine_decay_schedule(
        0.0 if warmup else self.lr, self.lr, warmup, max(self.steps, warmup + 1),
        self.final * self.lr,
    )

  def make(self) -> optax.GradientTransformation:
    """Returns the optimizer."""
    return optax.chain(
        optax.clip_by_global_norm(self.clip),
        optax.adamw(
            self.schedule(), self.b1, self.b2, self.eps,
            weight_decay=self.weight_decay, mask=decayed,
        ),
    )


def decayed(tree):
  """Returns True for the leaves that weight decay applies to."""

  def one(path, _):
    name = sharding.path_name(path)
    return bool(re.search(r'(^|/)(kernel|embedding)$', name))

  return jax.tree_util.tree_map_with_path(one, tree)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
  """What a run needs to go on: int32 step, the model, the optimizer's state."""

  step: jax.Array
  model: Any
  opt_state: Any


def init_state(make_model: Callable[[jax.Array], Any], optim: Optim, key, mesh):
  """Builds the state where it will live, never whole on one device.

  Args:
    make_model: key -> module.
    optim: the optimizer.
    key: random key of the parameters.
    mesh: from `sharding.make_mesh`.
  """
  optimizer = optim.make()

  def init(key):
    model = make_model(key)
    return State(jnp.zeros((), jnp.int32), model, optimizer.init(model))

  placed = sharding.shardings(jax.eval_shape(init, key), mesh)
  return jax.jit(init, out_shardings=placed)(key)


def start_state(model, optim: Optim, mesh) -> State:
  """Returns step 0 of a run that starts from a copy of `model`."""
  optimizer = optim.make()

  def init(model):
    model = jax.tree.map(jnp.copy, model)
    return State(jnp.zeros((), jnp.int32), model, optimizer.init(model))

  placed = sharding.shardings(jax.eval_shape(init, model), mesh)
  return jax.jit(init, out_shardings=placed)(model)


def make_step(loss: Callable, optim: Optim, key: jax.Array):
  """Compiles one step of gradient descent.

  Args:
    loss: (model, constants, batch, key) -> (scalar, dict of scalars).
    optim: the optimizer.
    key: the run's key; step n uses `fold_in(key, n)`.

  Returns:
    (state, constants, batch) -> (state, metrics). The state is donated. A
    step whose loss or gradient is not finite changes nothing but the step
    number and reports `train/skipped` = 1.
  """
  optimizer = optim.make()
  schedule = optim.schedule()

  def step(state: State, constants, batch):
    value_and_grad = jax.value_and_grad(loss, has_aux=True)
    (value, metrics), grads = value_and_grad(
        state.model, constants, batch, jax.random.fold_in(key, state.step)
    )
    norm = optax.tree.norm(grads)
    fine = jnp.isfinite(value) & jnp.isfinite(norm)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.model)
    model = optax.apply_updates(state.model, updates)

    def choose(new, old):
      return jnp.where(fine, new, old)

    state = State(
        state.step + 1,
        jax.tree.map(choose, model, state.model),
        jax.tree.map(choose, opt_state, state.opt_state),
    )
    metrics = metrics | {
        'train/loss': value,
        'train/grad_norm': norm,
        'train/lr': schedule(state.step - 1),
        'train/skipped': 1.0 - fine,
    }
    return state, metrics

  return jax.jit(step, donate_argnums=0)


class NonFinite(RuntimeError):
  """Too many steps in a row had a loss or gradient that was not finite."""


def run(
    state: State,
    step: Callable,
    constants,
    batches: Iterable,
    steps: int,
    *,
    log_every: int,
    log: Callable[[int, dict[str, float]], None],
    progress: Callable,
    save: Callable[[State], None] | None = None,
    save_every: int = 0,
    max_skipped: int = 10,
) -> State:
  """Runs the loop from `state.step` to `steps`.

  Args:
    state: where to start.
    step: from `make_step`.
    constants: what the loss needs beside the model (a frozen reference...).
    batches: yields device batches, beginning with the one of `state.step`.
    steps: where to stop.
    log_every: steps between calls of `log`, with means over the interval.
    log: (step, metrics) -> None.
    progress: wraps the range of steps, e.g. a progress bar.
    save: called with the state every `save_every` steps, if given.
    max_skipped: non-finite steps tolerated in one logging interval.

  Raises:
    NonFinite: more than `max_skipped` non-finite steps in one interval.
  """
  pending, began = [], time.perf_counter()
  batches = iter(batches)
  for number in progress(range(int(state.step), steps)):
    state, metrics = step(state, constants, next(batches))
    pending.append(metrics)
    done = number + 1
    if done % log_every == 0 or done == steps:
      rows = jax.device_get(pending)
      means = {k: float(sum(r[k] for r in rows) / len(rows)) for k in rows[0]}
      means['train/skipped'] = float(sum(r['train/skipped'] for r in rows))
      seconds = time.perf_counter() - began
      means['train/seconds_per_step'] = seconds / len(rows)
      log(done, means)
      if means['train/skipped'] > max_skipped:
        raise NonFinite(
            f'{means["train/skipped"]:.0f} of the last {len(rows)} steps '
            f'before step {done} were not finite'
        )
      pending, began = [], time.perf_counter()
    if save and save_every and done % save_every == 0 and done < steps:
      save(state)
  return state
