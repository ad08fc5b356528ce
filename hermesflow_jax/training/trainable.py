"""Trainable parameters: all parameters of a model, or LoRA adapters."""

from collections.abc import Callable
import pathlib

import jax

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import lora_checkpoint
from hermesflow_jax.models import lora
from hermesflow_jax.runtime import processes
from hermesflow_jax.training import train_step

# Separates the random key of adapters from keys of masks with the same seed.
_ADAPTERS = 0x10A


class FullModel:
  """Trains all parameters.

  Attributes:
    passes: policy's work in a step, in forward passes.

  Args:
    model: ShowO before the first step.
  """

  passes = 3

  def __init__(self, model):
    self.model = model

  def start(self):
    """Returns the trained pytree before the first step."""
    return self.model

  def loss(self, loss: Callable) -> Callable:
    """Returns the loss as a function of the trained pytree.

    Args:
      loss: (model, reference, batch, key) -> (scalar, metrics).

    Returns:
      (trained pytree, constants, batch, key) -> (scalar, metrics), for
      `train_step.make_step`.
    """
    return loss

  def constants(self, reference):
    """Returns the constants for that loss.

    Args:
      reference: frozen ShowO, frozen models by name, or None.
    """
    return reference

  def whole(self, learned):
    """Returns the trained ShowO.

    Args:
      learned: trained pytree.
    """
    return learned

  def save(self, learned, folder: pathlib.PurePath) -> None:
    """Writes adapters; a full model has none."""


class LoraAdapters(FullModel):
  """LoRA adapters are trained, and the model is frozen; see `models.lora`.

  Args:
    model: frozen ShowO.
    config: a `lora.Lora` with rank above 0.
    seed: seed for the adapters.
  """

  # The gradient of the kernels is not computed.
  passes = 2

  def __init__(self, model, config: lora.Lora, seed: int):
    super().__init__(model)
    self.config, self.seed = config, seed

  def start(self):
    """Returns new `lora.Adapters`."""
    key = jax.random.fold_in(jax.random.key(self.seed), _ADAPTERS)
    return lora.init_adapters(self.model, self.config, key)

  def loss(self, loss: Callable) -> Callable:
    """Returns the loss as a function of the adapters."""
    return train_step.hashable_partial(
      _adapter_loss, loss=loss, config=self.config
    )

  def constants(self, reference):
    """Returns (frozen model, reference), or only the model if both are it.

    Of models by name, the one that is the frozen model becomes None. The
    compiler reserves memory twice for arrays that are passed twice.
    """
    if isinstance(reference, dict):
      return self.model, {
        name: None if model is self.model else model
        for name, model in reference.items()
      }
    return (self.model,) + (reference,) * (reference is not self.model)

  def whole(self, learned):
    """Returns a plain ShowO with the adapters added to its kernels."""
    return lora.merge(self.model, learned, config=self.config)

  def save(self, learned, folder: pathlib.PurePath) -> None:
    """Writes the adapters to `<folder>/adapters`.

    Raises:
      OSError: they cannot be written.
    """
    path = folder / 'adapters'
    processes.on_first_process(lambda: checkpoint.remove(path))
    lora_checkpoint.save_adapters(str(path), learned, self.config, self.model)


def _adapter_loss(adapters, constants, batch, key, *, loss, config):
  frozen, *other = constants
  reference = other[0] if other else frozen
  if isinstance(reference, dict):
    reference = {
      name: frozen if model is None else model
      for name, model in reference.items()
    }
  model = lora.with_adapters(frozen, adapters, config)
  return loss(model, reference, batch, key)
