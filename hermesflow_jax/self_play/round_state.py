"""Round state before training."""

import dataclasses
import pathlib

from hermesflow_jax.data import input_set
from hermesflow_jax.models import showo
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.self_play import play_settings


@dataclasses.dataclass(frozen=True)
class Round:
  """Models, data and settings for a round.

  Attributes:
    number: r, from 1; round 0 evaluates the base model.
    base: unified model that self-play starts from.
    model: parameters before training.
    learned: whether `model` has been trained since the base model.
    data: inputs, held-out inputs and judge.
    config: self-play settings.
    folder: round folder, `round_<r>` in the run folder.
    console: prints progress.
    source: base model folder, recorded in checkpoints.
  """

  number: int
  base: unified_model.UnifiedModel
  model: showo.ShowO
  learned: bool
  data: play_settings.PlayData
  config: play_settings.PlayConfig
  folder: pathlib.PurePath
  console: terminal.Console
  source: str = ''

  @property
  def inputs(self) -> input_set.Inputs:
    """Image-caption inputs for the round."""
    return self.data.inputs[self.number - 1]

  @property
  def question_inputs(self) -> input_set.Inputs:
    """Inputs whose questions the answer term learns from.

    Those of all rounds so far: the term needs no candidates of the model.
    """
    extra = self.data.answer_inputs
    parts = [*self.data.inputs[: self.number], *([extra] if extra else [])]
    return input_set.join(parts)

  @property
  def previous_folder(self) -> pathlib.PurePath:
    """Folder with the files from the previous round."""
    return self.folder.parent / f'round_{self.number - 1}'

  @property
  def checkpoint(self) -> pathlib.PurePath:
    """Checkpoint that the round writes."""
    return self.folder.parent / 'checkpoints' / str(self.number)

  @property
  def reference(self) -> showo.ShowO:
    """Frozen reference model."""
    return self.base.model if self.config.reference == 'base' else self.model

  def sampler(self, model: showo.ShowO) -> unified_model.UnifiedModel:
    """Returns the base unified model with other parameters, for sampling.

    Each call returns a new object, which keeps a parameter copy for sampling.
    Drop the object before training starts: the copy is as large as the model.

    Args:
      model: parameters to sample with.
    """
    return dataclasses.replace(
      self.base,
      model=model,
      progress=terminal.with_prefix(self.base.progress, f'round {self.number}'),
    )
