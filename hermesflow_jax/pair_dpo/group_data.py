"""Candidate groups as training data for a round."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
from typing import Any

from hermesflow_jax.data import lazy_images
from hermesflow_jax.pair_dpo import group_loss
from hermesflow_jax.pair_dpo import group_rows
from hermesflow_jax.pair_dpo import group_scores
from hermesflow_jax.pair_dpo import learning_config
from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.pair_dpo import throughput
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.training import train_step


def step_functions(
  config: learning_config.LearningConfig,
  layout: group_rows.GroupLayout,
  image_tokens: int,
) -> tuple[train_step.HashablePartial, train_step.HashablePartial]:
  """Returns (loss, prepare) for `train_step.make_step`.

  Args:
    config: settings.
    layout: rows per group.
    image_tokens: I, codes per image.
  """
  loss = train_step.hashable_partial(
    group_loss.loss, objective=config.objective, chunk_size=config.label_rows
  )
  prepare = train_step.hashable_partial(
    group_loss.prepare_batch,
    layout=layout,
    masks=config.objective.masks,
    schedule=config.training_schedule,
    image_tokens=image_tokens,
    scaled=config.objective.scale_rewards,
  )
  return loss, prepare


@dataclasses.dataclass(frozen=True)
class GroupData:
  """Candidate groups, a `round_data.RoundData`.

  Attributes:
    unified: model to train, with its tokenizers, lengths and mesh.
    config: settings.
    records: from `candidate_groups.join_groups`.
    fit: text lengths for all records.
    layout: rows per group.
    images: the records' real images, if `unified` has a CLIP tower.
    reference: frozen ShowO of the divergence, once it has scored.
  """

  unified: unified_model.UnifiedModel
  config: learning_config.LearningConfig
  records: Sequence[dict]
  fit: packing.PackedLengths
  layout: group_rows.GroupLayout
  images: lazy_images.LazyImages | None
  reference: Any = None

  @property
  def parts(self) -> int:
    """Batch parts that a step computes in turn: a row per group."""
    return self.layout.rows

  @property
  def _scores_in_steps(self) -> bool:
    objective = self.config.objective
    return objective.learns_images and not objective.fixed_masks

  @property
  def frozen_models(self) -> dict | None:
    """The models that steps score images by; see `RoundData`."""
    if not self._scores_in_steps:
      return None
    models = {'old': self.unified.model}
    if self.reference is not self.unified.model:
      models['base'] = self.reference
    return models

  def with_reference_scores(self, reference, number: int) -> 'GroupData':
    """Returns the data with scores by frozen models; see `RoundData`."""
    data = dataclasses.replace(self, reference=reference)
    data = data._with_scores('old', self.unified.model, number)
    if reference is self.unified.model:
      return data
    return data._with_scores('base', reference, number)

  def _with_scores(self, name, model, number):
    config, unified = self.config, self.unified
    records = group_scores.score_groups(
      name,
      model,
      self.records,
      self.make_transform,
      layout=self.layout,
      objective=config.objective,
      schedule=config.training_schedule,
      image_tokens=unified.model.config.image_tokens,
      seed=config.seed + number,
      batch_size=config.batch,
      chunk_size=config.label_rows,
      mesh=unified.mesh,
      images=self.images,
      tower=unified.vision,
    )
    return dataclasses.replace(self, records=records)

  def make_transform(self, drop_condition: float) -> Callable:
    """Returns the function from a record to its row; see `RoundData`."""
    return group_rows.make_transform(
      self.unified, drop_condition, self.fit, self.layout
    )

  def functions(
    self,
  ) -> tuple[train_step.HashablePartial, train_step.HashablePartial]:
    """Returns (loss, prepare) for the training step."""
    image_tokens = self.unified.model.config.image_tokens
    return step_functions(self.config, self.layout, image_tokens)

  def useful_work(
    self, rows: Sequence[dict], passes: int
  ) -> throughput.UsefulWork:
    """Returns the useful work in a step; see `RoundData`."""
    config, sizes = self.config, self.unified.model.config
    return throughput.useful_work(
      sizes,
      [group_rows.without_padding(row) for row in rows],
      batch=config.batch,
      masks=config.objective.masks,
      masked=mask_schedules.mean_ratio(config.training_schedule)
      * sizes.image_tokens,
      images_again=len(self.frozen_models or ()),
      captions_again=False,
      passes=passes,
      unit='groups',
    )


def of_records(
  unified: unified_model.UnifiedModel,
  config: learning_config.LearningConfig,
  records: Sequence[dict],
  images: lazy_images.LazyImages | None,
) -> GroupData:
  """Returns a round's groups before the reference has scored them.

  Args:
    unified: model to train.
    config: settings.
    records: from `candidate_groups.join_groups`, each with a group to use.
    images: the records' real images, if `unified` has a CLIP tower.
  """
  layout = group_rows.layout_of_records(records, config.objective.group_part)
  fit = group_rows.packed_lengths_of(unified, records)
  return GroupData(unified, config, records, fit, layout, images)
