"""One round of learning: pairs to records, records to a better model."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools
import math
import pathlib

import jax
import numpy as np

from hermesflow_jax.data import pipeline
from hermesflow_jax.models import lora
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import official_defects
from hermesflow_jax.pair_dpo import pair_loss
from hermesflow_jax.pair_dpo import record_rows
from hermesflow_jax.pair_dpo import reference_scores
from hermesflow_jax.pair_dpo import throughput
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

# Records whose lengths stand for all, where speed is told.
_SAMPLED = 200


@dataclasses.dataclass(frozen=True)
class LearningConfig:
  """How a round learns.

  Attributes:
    objective: the loss.
    compat: official defects to reproduce.
    caption_prompt: what captions are asked with.
    mask_schedule: of the random masks in training.
    optim: the optimizer of one round.
    lora: adapters that learn in the model's place, if it has a rank.
    epochs: passes over the pairs of a round, which may end it before
      `optim.steps`; 0 for no such end.
    batch: pairs a step.
    label_rows: labels of a record whose logits are in memory at once.
    log_every: steps between two lines of metrics.
    save_every: steps between two checkpoints within a round; 0 for none but
      that of a stop.
    sample_every: steps between two looks at what the model draws and writes
      of the first inputs; 0 for none.
    profile_steps: the first step of a round, and the first after, that the
      profiler looks at; (0, 0) for none.
    seed: of sampling, order and masks.
  """

  objective: objective_config.ObjectiveConfig
  compat: official_defects.OfficialDefects
  caption_prompt: str = dataclasses.field(
    default=text_tokenizer.CAPTION_PROMPT, kw_only=True
  )
  mask_schedule: str
  optim: adamw.AdamWConfig
  lora: lora.Lora
  epochs: settings.NonNegativeFloat
  batch: settings.PositiveInt
  label_rows: settings.PositiveInt = settings.not_identity()
  log_every: settings.PositiveInt = settings.not_identity()
  save_every: settings.NonNegativeInt = settings.not_identity()
  sample_every: settings.NonNegativeInt = settings.not_identity()
  profile_steps: tuple[int, int] = settings.not_identity()
  seed: settings.NonNegativeInt

  def __post_init__(self):
    settings.check(self)
    text_tokenizer.check_prompt('caption_prompt', self.caption_prompt)
    mask_schedules.parse_schedule(self.mask_schedule)
    first, after = self.profile_steps
    if not 0 <= first <= after:
      raise ValueError(
        f'profile_steps is {self.profile_steps}, wanted 0 <= first <= after'
      )
    sums = self.compat.batch_sum or self.compat.score_images_as_text
    if sums and self.objective.method in ('sft', 'per_token'):
      raise ValueError(
        'compat.batch_sum and compat.score_images_as_text go with no method '
        f'that counts tokens, as {self.objective.method}'
      )
    if self.compat.batch_sum and self.optim.accumulate > 1:
      raise ValueError('compat.batch_sum wants accumulate 1: it is no sum')
    if self.compat.plain and self.objective.fixed_masks:
      raise ValueError(
        'fixed_masks go neither with compat.score_images_as_text nor with '
        'compat.separate_drops'
      )


def step_count(config: LearningConfig, records: int) -> int:
  """Returns the steps of a round: `epochs` passes, at most `optim.steps`."""
  if not config.epochs:
    return config.optim.steps
  passes = math.ceil(config.epochs * records / config.batch)
  return max(1, min(config.optim.steps, passes))


def learn_round(
  player: unified_model.UnifiedModel,
  reference,
  rows: Sequence[dict],
  config: LearningConfig,
  steps: int,
  folder: pathlib.PurePath,
  number: int,
  console: terminal.Console,
  sample: Callable | None = None,
):
  """Returns the model after one round of Pair-DPO; goes on where it stopped.

  Args:
    player: the model, and all that its rows are made with.
    reference: the frozen model.
    rows: of `records_of`.
    config: how.
    steps: how many.
    folder: for metrics, checkpoints and a profile; adapters are left there.
    number: of the round.
    console: shows progress.
    sample: state -> None; looks at samples every `sample_every` steps; the
      state's model is whole.
  """
  model, mesh = player.model, player.mesh
  optim = dataclasses.replace(config.optim, steps=steps)
  objective, compat = config.objective, config.compat
  masks = dict(
    schedule=mask_schedules.parse_schedule(config.mask_schedule),
    image_tokens=model.config.image_tokens,
  )
  # Of the pairs, not of their scores: these may be rounded otherwise elsewhere.
  identity = _identity(config, steps, rows)
  fit = record_rows.packed_lengths_of(
    player.vocab, player.text, player.lengths, rows, compat
  )

  def arrays(drop_condition):
    return record_rows.make_transform(
      player.vocab,
      player.text,
      player.lengths,
      drop_condition,
      compat,
      fit,
      player.caption_prompt,
    )

  certain = np.random.default_rng(0)  # Where nothing is left to chance.
  if not compat.plain:
    make = {dropped: arrays(float(dropped)) for dropped in (False, True)}
    rows = reference_scores.score_reference(
      reference,
      rows,
      lambda row, dropped: make[dropped](row, certain),
      objective=objective,
      seed=config.seed + number,
      chunk=config.batch,
      rows=config.label_rows,
      mesh=mesh,
      **masks,
    )
    if objective.fixed_masks:
      reference = None
  order = dict(seed=config.seed + number, batch=config.batch)

  def batches(start):
    return pipeline.batches(
      rows, arrays(objective.drop_condition), start=start, mesh=mesh, **order
    )

  def names(step):
    picked = pipeline.batch_indices(len(rows), step=step, **order)
    return [rows[n]['id'] for n in picked]

  loss = train_step.hashable_partial(
    pair_loss.loss,
    objective=objective,
    reply=player.lengths.reply,
    compat=compat,
    rows=config.label_rows,
  )
  learner = trainable.FullModel(model)
  if config.lora.rank:
    learner = trainable.LoraAdapters(model, config.lora, config.seed + number)
  prepare = train_step.hashable_partial(
    pair_loss.prepare_batch, masks=objective.masks, **masks
  )
  key = jax.random.fold_in(jax.random.key(config.seed), number)
  step = train_step.make_step(learner.loss(loss), optim, key, mesh, prepare)
  state = resume.run_resumable(
    lambda: train_step.start_state(learner.start(), optim, mesh),
    step,
    learner.constants(reference),
    batches,
    training_loop.LoopConfig(
      steps,
      config.log_every,
      config.save_every,
      config.sample_every,
      profile=config.profile_steps,
    ),
    mesh=mesh,
    folder=str(folder),
    identity=identity,
    known=functools.partial(settings.identity, LearningConfig),
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
      [arrays(0.0)(r, certain) for r in rows[:: 1 + len(rows) // _SAMPLED]],
      batch=config.batch,
      masks=objective.masks,
      hidden=mask_schedules.mean_ratio(masks['schedule'])
      * model.config.image_tokens,
      images_again=not objective.fixed_masks,
      captions_again=compat.plain,
      passes=learner.passes,
    ),
  )
  learner.save(state.model, folder)
  return learner.whole(state.model)


def _identity(config, steps, rows):
  """What checkpoints of a round are refused for if it is another."""
  said = settings.to_json_types(config)
  names = [field.name for field in dataclasses.fields(LearningConfig)]
  return settings.identity(
    LearningConfig, {name: said[name] for name in names}
  ) | {'steps': steps, 'records': pipeline.content_hash(rows)}
