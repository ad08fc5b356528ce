"""What of a model learns: all of it, or adapters beside it."""

from collections.abc import Callable
import pathlib

import jax

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import lora_checkpoint
from hermesflow_jax.models import lora
from hermesflow_jax.runtime import processes
from hermesflow_jax.training import train_step

# Keeps the draw of adapters apart from those of masks with the same seed.
_ADAPTERS = 0x10A


class FullModel:
  """All parameters of a model learn.

  Attributes:
    passes: what a step takes of the policy, in forward passes.

  Args:
    model: a ShowO, at the start.
  """

  passes = 3

  def __init__(self, model):
    self.model = model

  def start(self):
    """Returns the pytree of arrays that learns, before the first step."""
    return self.model

  def loss(self, loss: Callable) -> Callable:
    """Returns the loss of what learns, for `train_step.make_step`.

    Args:
      loss: (model, reference, batch, key) -> (scalar, metrics).
    """
    return loss

  def constants(self, reference):
    """Returns what that loss is given beside it.

    Args:
      reference: the frozen ShowO, or None.
    """
    return reference

  def whole(self, learned):
    """Returns the ShowO that was learned.

    Args:
      learned: the pytree of `start`, later.
    """
    return learned

  def save(self, learned, folder: pathlib.PurePath) -> None:
    """Writes what only this way of learning has; nothing here."""


class LoraAdapters(FullModel):
  """Adapters learn, and the model is frozen: see `lora`.

  Args:
    model: a ShowO.
    config: a `lora.Lora` with a rank.
    seed: of the adapters.
  """

  # The gradient of its kernels is not computed.
  passes = 2

  def __init__(self, model, config: lora.Lora, seed: int):
    super().__init__(model)
    self.config, self.seed = config, seed

  def start(self):
    """Returns new `lora.Adapters`."""
    key = jax.random.fold_in(jax.random.key(self.seed), _ADAPTERS)
    return lora.init_adapters(self.model, self.config, key)

  def loss(self, loss: Callable) -> Callable:
    """Returns the loss of adapters; its constants are one model, or two."""
    return train_step.hashable_partial(
      _of_adapters, loss=loss, config=self.config
    )

  def constants(self, reference):
    """Returns (the frozen model, the reference), or one that is both.

    A program that is given the same arrays twice is planned with room for two.
    """
    return (self.model,) + (reference,) * (reference is not self.model)

  def whole(self, learned):
    """Returns a plain ShowO with the adapters added to its kernels."""
    return lora.merge(self.model, learned, config=self.config)

  def save(self, learned, folder: pathlib.PurePath) -> None:
    """Writes the adapters alone to `<folder>/adapters`.

    Raises:
      OSError: they cannot be written.
    """
    path = folder / 'adapters'
    processes.on_first_process(lambda: checkpoint.remove(path))
    lora_checkpoint.save_adapters(str(path), learned, self.config, self.model)


def _of_adapters(adapters, constants, batch, key, *, loss, config):
  frozen, *other = constants
  model = lora.with_adapters(frozen, adapters, config)
  return loss(model, other[0] if other else frozen, batch, key)
