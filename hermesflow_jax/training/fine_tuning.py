"""Training of a unified model on data sets that are encoded on the fly.

Show-o (arXiv 2408.12528), section 3: masked prediction of image codes given
text, next-token prediction of text given an image, and of text alone.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import pathlib

import jax

from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal
from hermesflow_jax.training import held_out_loss
from hermesflow_jax.training import preview_images

with lazy_modules.on_first_use():
  from hermesflow_jax.data import pipeline
  from hermesflow_jax.sampling import unified_model
  from hermesflow_jax.sequences import mask_schedules
  from hermesflow_jax.training import adamw
  from hermesflow_jax.training import image_codes
  from hermesflow_jax.training import pretraining
  from hermesflow_jax.training import resume
  from hermesflow_jax.training import task_loss
  from hermesflow_jax.training import task_rows
  from hermesflow_jax.training import train_step
  from hermesflow_jax.training import training_loop


@dataclasses.dataclass(frozen=True)
class TaskWeights:
  """Loss weights.

  Attributes:
    t2i: images given text.
    mmu: text given images.
    lm: text alone.
  """

  t2i: settings.NonNegativeFloat = 1.0
  mmu: settings.NonNegativeFloat = 1.0
  lm: settings.NonNegativeFloat = 0.1

  def __post_init__(self):
    settings.check(self)


@dataclasses.dataclass(frozen=True)
class FineTuningConfig:
  """Settings of a training run.

  Attributes:
    rows: how examples become rows.
    weights: loss weights.
    mask_schedule: mask schedule for image tokens.
    optim: optimizer.
    batches: rows per task and step.
    label_rows: labels of a row whose logits are in memory at once.
    threads: threads that read and crop images, per task.
    log_every: steps between two metrics lines.
    save_every: steps between two checkpoints; 0 for none except after a stop.
    profile_steps: first step to profile, and first step after the profile.
    seed: seed of order, crops, masks and a new model.
    held_out: examples whose loss is measured.
    previews: prompts that are drawn.
    measure_every: steps between two measurements and previews; the first is
      before training, the last after it.
  """

  rows: task_rows.RowSettings
  weights: TaskWeights
  mask_schedule: str
  optim: adamw.AdamWConfig
  batches: pretraining.Batches
  label_rows: settings.PositiveInt = settings.may_change_on_resume()
  threads: settings.PositiveInt = settings.may_change_on_resume()
  log_every: settings.PositiveInt = settings.may_change_on_resume()
  save_every: settings.NonNegativeInt = settings.may_change_on_resume()
  profile_steps: tuple[int, int] = settings.may_change_on_resume()
  seed: settings.NonNegativeInt
  held_out: held_out_loss.HeldOut = dataclasses.field(
    default=held_out_loss.HeldOut(), kw_only=True
  )
  previews: preview_images.Previews = settings.may_change_on_resume(
    default=preview_images.Previews(), kw_only=True
  )
  measure_every: settings.PositiveInt = settings.may_change_on_resume(
    default=500, kw_only=True
  )

  def __post_init__(self):
    settings.check(self)
    mask_schedules.parse_schedule(self.mask_schedule)


def train(
  unified: unified_model.UnifiedModel,
  sources: Mapping[str, pipeline.Mixture],
  config: FineTuningConfig,
  identity: dict,
  folder: pathlib.PurePath,
  console: terminal.Console,
  held_out: Mapping[str, pipeline.Mixture] | None = None,
  comparable: Callable[[dict], dict] = dict,
):
  """Trains a model, and resumes an unfinished run.

  Args:
    unified: model to train, with its tokenizers, lengths and mesh.
    sources: examples of 't2i', 'mmu' and 'lm'; see `task_rows`.
    config: settings.
    identity: settings that checkpoints must have; JSON types.
    folder: folder for checkpoints and metrics; previews are written beside it.
    console: progress output.
    held_out: examples of each task that are measured; None for none.
    comparable: see `training_loop.TrainingRun`.

  Returns:
    The trained ShowO.

  Raises:
    ValueError: an image cannot be read; or the folder holds checkpoints from
      another run.
    OSError: a checkpoint could not be written.
    training_loop.NonFiniteError: too many steps were not finite.
    interrupts.Stopped: the process was asked to stop; the state is saved.
  """
  model, mesh = unified.model, unified.mesh
  image_tokens = unified.grid[0] * unified.grid[1]
  transforms = _transforms(unified, config.rows)
  devices = mesh.shape['data']
  encode = image_codes.make_encoder(
    unified.tokenizer, unified.vocab, mesh, unified.chunk // devices
  )

  def batches(start):
    streams = {
      task: pipeline.batches(
        sources[task],
        transforms[task],
        # Tasks with the same examples have orders of their own.
        seed=1_000 * (3 * config.seed + number),
        batch=size,
        start=start,
        mesh=mesh,
        threads=config.threads,
      )
      for number, (task, size) in enumerate(
        dataclasses.asdict(config.batches).items()
      )
    }
    while True:
      yield encode({task: next(stream) for task, stream in streams.items()})

  run = training_loop.TrainingRun(
    step=make_step(config, unified.vocab, image_tokens, mesh),
    make_state=lambda: train_step.state_from_model(model, config.optim, mesh),
    constants=None,
    batches=batches,
    config=training_loop.LoopConfig(
      config.optim.steps,
      config.log_every,
      config.save_every,
      sample_every=config.measure_every,
      sample_first=True,
      profile=config.profile_steps,
    ),
    mesh=mesh,
    folder=str(folder),
    identity=identity,
    comparable=comparable,
    sample=_make_sample(unified, held_out, encode, config, folder, console),
    label='fine-tuning',
    console=console,
  )
  return resume.run_resumable(run).model


def _transforms(unified, rows):
  """Returns the functions from an example to its row, by task."""
  return task_rows.make_transforms(
    unified.vocab,
    unified.text,
    unified.lengths,
    unified.grid[0] * unified.grid[1],
    unified.grid[0] * unified.tokenizer.reduction,
    rows,
  )


def _make_sample(unified, held_out, encode, config, folder, console):
  """Returns the function that measures and draws, or None for neither."""
  measure, draw = None, None
  if held_out:
    measure = held_out_loss.make_measurement(
      held_out_loss.Measurement(
        sources=held_out,
        transforms=_transforms(
          unified,
          dataclasses.replace(
            config.rows, drop_condition=0.0, crop='center', flip=0.0
          ),
        ),
        sizes=dataclasses.asdict(config.batches),
        batches=config.held_out.batches,
        encode=encode,
        weights=dataclasses.asdict(config.weights),
        image_tokens=unified.grid[0] * unified.grid[1],
        label_rows=config.label_rows,
        schedule=mask_schedules.parse_schedule(config.mask_schedule),
        threads=config.threads,
        seed=config.seed,
        vocab=unified.vocab,
        mesh=unified.mesh,
      )
    )
  if config.previews.prompts:
    draw = preview_images.make_writer(
      unified, config.previews, config.seed, folder.parent / 'previews'
    )
  if not (measure or draw):
    return None

  def sample(state):
    step = int(state.step)
    if draw:
      draw(state.model, step)
    if not measure:
      return None
    losses = measure(state.model)
    console.say(
      f'step {step}: held-out loss '
      + ', '.join(
        f'{name.removeprefix("held_out/")} {value:.3f}'
        for name, value in losses.items()
      )
    )
    return losses

  return sample


def make_step(
  config: FineTuningConfig, vocab, image_tokens: int, mesh: jax.sharding.Mesh
) -> train_step.TrainStep:
  """Returns the compiled training step.

  Args:
    config: settings.
    vocab: token ids.
    image_tokens: I, codes per image.
    mesh: device mesh.
  """
  return train_step.make_step(
    train_step.hashable_partial(
      task_loss.loss,
      weights=tuple(sorted(dataclasses.asdict(config.weights).items())),
      image_tokens=image_tokens,
      chunk_size=config.label_rows,
    ),
    config.optim,
    jax.random.key(config.seed),
    mesh,
    train_step.hashable_partial(
      task_loss.prepare_batch,
      vocab=vocab,
      image_tokens=image_tokens,
      schedule=mask_schedules.parse_schedule(config.mask_schedule),
    ),
  )
