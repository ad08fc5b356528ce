"""Homologous pairs as training data for a round."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np

from hermesflow_jax.data import lazy_images
from hermesflow_jax.pair_dpo import learning_config
from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.pair_dpo import pair_loss
from hermesflow_jax.pair_dpo import record_rows
from hermesflow_jax.pair_dpo import reference_scores
from hermesflow_jax.pair_dpo import throughput
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.training import train_step


def step_functions(
  config: learning_config.LearningConfig, reply: int, image_tokens: int
) -> tuple[train_step.HashablePartial, train_step.HashablePartial]:
  """Returns (loss, prepare) for `train_step.make_step`.

  Args:
    config: settings.
    reply: maximum length of a caption in tokens, its end included.
    image_tokens: I, codes per image.
  """
  loss = train_step.hashable_partial(
    pair_loss.loss,
    objective=config.objective,
    reply=reply,
    compat=config.compat,
    chunk_size=config.label_rows,
  )
  prepare = train_step.hashable_partial(
    pair_loss.prepare_batch,
    masks=config.objective.masks,
    schedule=config.training_schedule,
    image_tokens=image_tokens,
  )
  return loss, prepare


@dataclasses.dataclass(frozen=True)
class PairData:
  """Homologous pairs, a `round_data.RoundData`.

  Attributes:
    unified: model to train, with its tokenizers, lengths and mesh.
    config: settings.
    records: homologous records, see `record_rows.make_transform`.
    fit: text lengths for all records.
    images: the records' real images, if `unified` has a CLIP tower.
    reference: frozen ShowO, once it has scored.
  """

  unified: unified_model.UnifiedModel
  config: learning_config.LearningConfig
  records: Sequence[dict]
  fit: packing.PackedLengths
  images: lazy_images.LazyImages | None
  reference: Any = None

  parts = 1

  @property
  def frozen_models(self):
    """The reference if steps score by it, else None; see `RoundData`."""
    scored = self.config.objective.fixed_masks and not self.config.compat.plain
    return None if scored else self.reference

  def with_reference_scores(self, reference, number: int) -> 'PairData':
    """Returns the data with scores by the reference; see `RoundData`."""
    config, unified = self.config, self.unified
    if config.compat.plain:
      return dataclasses.replace(self, reference=reference)
    rng = np.random.default_rng(0)  # The drop is certain in these rows.
    transforms = {
      dropped: self.make_transform(float(dropped)) for dropped in (False, True)
    }
    records = reference_scores.score_reference(
      reference,
      self.records,
      lambda record, dropped: transforms[dropped](record, rng),
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
    return dataclasses.replace(self, records=records, reference=reference)

  def make_transform(self, drop_condition: float) -> Callable:
    """Returns the function from a record to its row; see `RoundData`."""
    unified, tower = self.unified, self.unified.vision
    return record_rows.make_transform(
      unified.vocab,
      unified.text,
      unified.lengths,
      drop_condition,
      self.config.compat,
      self.fit,
      unified.caption_prompt,
      0 if tower is None else tower.config.patches,
    )

  def functions(
    self,
  ) -> tuple[train_step.HashablePartial, train_step.HashablePartial]:
    """Returns (loss, prepare) for the training step."""
    model = self.unified.model
    return step_functions(
      self.config, self.unified.lengths.reply, model.config.image_tokens
    )

  def useful_work(
    self, rows: Sequence[dict], passes: int
  ) -> throughput.UsefulWork:
    """Returns the useful work in a step; see `RoundData`."""
    config, sizes = self.config, self.unified.model.config
    return throughput.useful_work(
      sizes,
      rows,
      batch=config.batch,
      masks=config.objective.masks,
      masked=mask_schedules.mean_ratio(config.training_schedule)
      * sizes.image_tokens,
      images_again=not config.objective.fixed_masks,
      captions_again=config.compat.plain,
      passes=passes,
    )


def of_records(
  unified: unified_model.UnifiedModel,
  config: learning_config.LearningConfig,
  records: Sequence[dict],
  images: lazy_images.LazyImages | None,
) -> PairData:
  """Returns a round's pairs before the reference has scored them.

  Args:
    unified: model to train.
    config: settings.
    records: homologous records, see `record_rows.make_transform`.
    images: the records' real images, if `unified` has a CLIP tower.
  """
  fit = record_rows.packed_lengths_of(
    unified.vocab, unified.text, unified.lengths, records, config.compat
  )
  return PairData(unified, config, records, fit, images)
