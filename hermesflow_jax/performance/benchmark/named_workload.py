"""A workload of any kind, with its name in tables."""

import dataclasses

from hermesflow_jax.performance.benchmark import attention_workload
from hermesflow_jax.performance.benchmark import choices_workload
from hermesflow_jax.performance.benchmark import images_workload
from hermesflow_jax.performance.benchmark import pixels_workload
from hermesflow_jax.performance.benchmark import replies_workload
from hermesflow_jax.performance.benchmark import steps_workload
from hermesflow_jax.performance.benchmark import workload


@dataclasses.dataclass(frozen=True)
class NamedWorkload:
  """A named workload, which sets exactly one other field.

  Attributes:
    name: name in the table.
    images: image sampling.
    replies: text sampling.
    choices: answers from given choices.
    steps: training steps.
    pixels: image tokenizer.
    attention: attention of image queries alone, with its gradient.
  """

  name: str
  images: images_workload.ImagesWorkload | None = None
  replies: replies_workload.RepliesWorkload | None = None
  choices: choices_workload.ChoicesWorkload | None = None
  steps: steps_workload.StepsWorkload | None = None
  pixels: pixels_workload.PixelsWorkload | None = None
  attention: attention_workload.AttentionWorkload | None = None

  def __post_init__(self):
    if len(self._kinds()) != 1:
      raise ValueError(
        f'{self.name} must have one of images, replies, choices, steps and '
        f'pixels, or attention, got {len(self._kinds())}'
      )

  def _kinds(self):
    kinds = (
      self.images,
      self.replies,
      self.choices,
      self.steps,
      self.pixels,
      self.attention,
    )
    return [kind for kind in kinds if kind]

  @property
  def workload(self) -> workload.Workload:
    """The workload that is set."""
    return self._kinds()[0]
