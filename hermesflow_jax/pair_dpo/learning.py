"""A round of Pair-DPO: homologous records to a trained model.

A training step calls `pair_loss.loss` (the loss), which calls
`pair_log_likelihood.pair_logps` (both pairs to log-likelihoods) and a function
in `methods` (log-likelihoods to losses).
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools
import math
import pathlib

import jax
import numpy as np

from hermesflow_jax.data import lazy_images
from hermesflow_jax.data import pipeline
from hermesflow_jax.models import lora
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import official_defects
from hermesflow_jax.pair_dpo import pair_loss
from hermesflow_jax.pair_dpo import real_images
from hermesflow_jax.pair_dpo import record_rows
from hermesflow_jax.pair_dpo import reference_scores
from hermesflow_jax.pair_dpo import throughput
from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.training import adamw
from hermesflow_jax.training import resume
from hermesflow_jax.training import train_step
from hermesflow_jax.training import trainable
from hermesflow_jax.training import training_loop

# Records whose lengths represent all records in metrics of speed.
_SAMPLED = 200
# The setting `lora` hides the module.
_Lora = lora.Lora


@dataclasses.dataclass(frozen=True)
class LearningConfig:
  """Settings for a round of learning.

  Attributes:
    objective: loss and masks.
    compat: official defects to reproduce.
    caption_prompt: prompt for captions.
    mask_schedule: schedule for the random masks.
    optim: optimizer.
    lora: adapters to train, if the rank is above 0; otherwise all parameters
      are trained.
    epochs: passes over the records, which may end a round before `optim.steps`;
      0 for no limit.
    batch: records per step.
    label_rows: labels of a record whose logits are in memory at once.
    log_every: steps between two metrics lines.
    save_every: steps between two checkpoints within a round; 0 for none except
      after a stop.
    sample_every: steps between two samples of images and captions for the
      first inputs; 0 for none.
    profile_steps: first step to profile, and first step after the profile;
      (0, 0) for none.
    seed: seed of order, masks and adapters.
  """

  objective: objective_config.ObjectiveConfig = settings.of_learning()
  compat: official_defects.OfficialDefects = settings.of_learning()
  caption_prompt: str = dataclasses.field(
    default=text_tokenizer.CAPTION_PROMPT, kw_only=True
  )
  mask_schedule: str = settings.of_learning()
  optim: adamw.AdamWConfig = settings.of_learning()
  lora: _Lora = settings.of_learning()
  epochs: settings.NonNegativeFloat = settings.of_learning()
  batch: settings.PositiveInt = settings.of_learning()
  label_rows: settings.PositiveInt = settings.may_change_on_resume()
  log_every: settings.PositiveInt = settings.may_change_on_resume()
  save_every: settings.NonNegativeInt = settings.may_change_on_resume()
  sample_every: settings.NonNegativeInt = settings.may_change_on_resume()
  profile_steps: tuple[int, int] = settings.may_change_on_resume()
  seed: settings.NonNegativeInt

  def __post_init__(self):
    settings.check(self)
    text_tokenizer.check_prompt('caption_prompt', self.caption_prompt)
    mask_schedules.parse_schedule(self.mask_schedule)
    first, after = self.profile_steps
    if not 0 <= first <= after:
      raise ValueError(
        'profile_steps must be two steps with 0 <= first <= after, got '
        f'{self.profile_steps}'
      )
    sums = self.compat.batch_sum or self.compat.score_images_as_text
    if sums and self.objective.method in ('sft', 'per_token'):
      raise ValueError(
        'compat.batch_sum and compat.score_images_as_text must be False for '
        f'methods that count tokens, got method {self.objective.method}'
      )
    if self.compat.batch_sum and self.optim.accumulate > 1:
      raise ValueError(
        'optim.accumulate must be 1 with compat.batch_sum, whose loss does not '
        f'add up over records, got {self.optim.accumulate}'
      )
    if self.compat.plain and self.objective.fixed_masks:
      raise ValueError(
        'objective.fixed_masks must be False with compat.score_images_as_text '
        'or compat.separate_drops'
      )


def step_count(config: LearningConfig, records: int) -> int:
  """Returns the steps of a round: `epochs` passes, at most `optim.steps`."""
  if not config.epochs:
    return config.optim.steps
  passes = math.ceil(config.epochs * records / config.batch)
  return max(1, min(config.optim.steps, passes))


def learn_round(
  unified: unified_model.UnifiedModel,
  reference,
  records: Sequence[dict],
  config: LearningConfig,
  steps: int,
  folder: pathlib.PurePath,
  number: int,
  console: terminal.Console,
  sample: Callable | None = None,
  images: lazy_images.LazyImages | None = None,
):
  """Trains a model for a round of Pair-DPO, and resumes an unfinished round.

  Args:
    unified: model to train, with its tokenizers, lengths and mesh.
    reference: frozen ShowO.
    records: homologous records, see `record_rows.make_transform`.
    config: settings.
    steps: length, see `step_count`.
    folder: folder for metrics, checkpoints, a profile and trained adapters.
    number: round number.
    console: progress output.
    sample: state -> None, called every `sample_every` steps with a full model
      in the state; None for none.
    images: real images of the records, if `unified` has a CLIP tower.

  Returns:
    The trained ShowO, with adapters merged.

  Raises:
    ValueError: the folder holds checkpoints from another run.
    OSError: a checkpoint could not be written.
    training_loop.NonFiniteError: too many steps were not finite.
    interrupts.Stopped: the process was asked to stop; the state is saved.
  """
  model, mesh, tower = unified.model, unified.mesh, unified.vision
  assert (images is None) == (tower is None)
  optim = dataclasses.replace(config.optim, steps=steps)
  objective, compat = config.objective, config.compat
  masks = dict(
    schedule=mask_schedules.parse_schedule(config.mask_schedule),
    image_tokens=model.config.image_tokens,
  )
  # Computed before the records get reference scores: another machine may round
  # these differently, and must still resume the run.
  identity = _identity(config, steps, records)
  fit = record_rows.packed_lengths_of(
    unified.vocab, unified.text, unified.lengths, records, compat
  )

  def make_transform(drop_condition):
    return record_rows.make_transform(
      unified.vocab,
      unified.text,
      unified.lengths,
      drop_condition,
      compat,
      fit,
      unified.caption_prompt,
      0 if tower is None else tower.config.patches,
    )

  rng = np.random.default_rng(0)  # The drop is certain in these rows.
  if not compat.plain:
    transforms = {
      dropped: make_transform(float(dropped)) for dropped in (False, True)
    }
    records = reference_scores.score_reference(
      reference,
      records,
      lambda record, dropped: transforms[dropped](record, rng),
      objective=objective,
      seed=config.seed + number,
      batch_size=config.batch,
      chunk_size=config.label_rows,
      mesh=mesh,
      images=images,
      tower=tower,
      **masks,
    )
    if objective.fixed_masks:
      reference = None
  order = dict(seed=config.seed + number, batch=config.batch)

  def batches(start):
    transform = make_transform(objective.drop_condition)
    return pipeline.batches(
      records,
      real_images.with_pixels(transform, records, images),
      start=start,
      mesh=mesh,
      **order,
    )

  def names(step):
    picked = pipeline.batch_indices(len(records), step=step, **order)
    return [records[n]['id'] for n in picked]

  loss = train_step.hashable_partial(
    pair_loss.loss,
    objective=objective,
    reply=unified.lengths.reply,
    compat=compat,
    chunk_size=config.label_rows,
  )
  learner = trainable.FullModel(model)
  if config.lora.rank:
    learner = trainable.LoraAdapters(model, config.lora, config.seed + number)
  loss, constants = real_images.with_tower(
    learner.loss(loss), learner.constants(reference), tower
  )
  prepare = train_step.hashable_partial(
    pair_loss.prepare_batch, masks=objective.masks, **masks
  )
  key = jax.random.fold_in(jax.random.key(config.seed), number)
  sampled = records[:: 1 + len(records) // _SAMPLED]
  run = training_loop.TrainingRun(
    step=train_step.make_step(loss, optim, key, mesh, prepare),
    make_state=lambda: train_step.state_from_model(
      learner.start(), optim, mesh
    ),
    constants=constants,
    batches=batches,
    config=training_loop.LoopConfig(
      steps,
      config.log_every,
      config.save_every,
      config.sample_every,
      profile=config.profile_steps,
    ),
    mesh=mesh,
    folder=str(folder),
    identity=identity,
    comparable=functools.partial(identities.identity_of, LearningConfig),
    label=f'round {number}: learning',
    console=console,
    names=names,
    sample=sample
    and (
      lambda state: sample(
        dataclasses.replace(state, model=learner.whole(state.model))
      )
    ),
    rates=throughput.useful_work(
      model.config,
      [make_transform(0.0)(record, rng) for record in sampled],
      batch=config.batch,
      masks=objective.masks,
      masked=mask_schedules.mean_ratio(masks['schedule'])
      * model.config.image_tokens,
      images_again=not objective.fixed_masks,
      captions_again=compat.plain,
      passes=learner.passes,
    ),
  )
  state = resume.run_resumable(run)
  learner.save(state.model, folder)
  return learner.whole(state.model)


def _identity(config, steps, records):
  """Returns the settings and records that checkpoints must have."""
  values = settings.to_json_types(config)
  names = [field.name for field in dataclasses.fields(LearningConfig)]
  return identities.identity_of(
    LearningConfig, {name: values[name] for name in names}
  ) | {'steps': steps, 'records': pipeline.content_hash(records)}
