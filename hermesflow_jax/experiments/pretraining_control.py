"""Control for self-play: the base model, pretrained for as many more steps."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import time

import jax

from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal

with lazy_modules.on_first_use():
  from hermesflow_jax.checkpoints import checkpoint
  from hermesflow_jax.checkpoints import trained_model
  from hermesflow_jax.jobs import pair_dpo
  from hermesflow_jax.sampling import unified_model
  from hermesflow_jax.self_play import evaluation_phase
  from hermesflow_jax.sequences import mask_schedules
  from hermesflow_jax.shapes import scene_records
  from hermesflow_jax.training import pretraining
  from hermesflow_jax.training import resume
  from hermesflow_jax.training import train_step
  from hermesflow_jax.training import training_loop


@dataclasses.dataclass(frozen=True)
class Control:
  """Pretraining settings for the control.

  Attributes:
    scenes: number of scenes from the train split.
    batches: rows per step for each task.
    mixture: task weights and shares.
  """

  scenes: settings.PositiveInt
  batches: pretraining.Batches
  mixture: pretraining.TaskMixture

  def __post_init__(self):
    settings.check(self)


def continue_pretraining(
  base: unified_model.UnifiedModel,
  config: pair_dpo.Settings,
  control: Control,
  steps: int,
  root: pathlib.PurePath,
  seed: int,
  console: terminal.Console,
) -> dict:
  """Pretrains the base model further and evaluates it.

  Later calls read the files.

  Args:
    base: the base model.
    config: self-play settings.
    control: control settings.
    steps: training steps, as many as all rounds took.
    root: job folder.
    seed: the rounds' seed.
    console: shows progress.

  Returns:
    Evaluation summary.

  Raises:
    ValueError: the folder has a control with other steps.
  """
  folder = root / f'control_{seed}'
  play = config.play
  optim = dataclasses.replace(play.optim, steps=max(1, steps))
  saved = folder / 'checkpoint'
  if checkpoint.exists(saved):
    model, notes = trained_model.restore_parts(str(saved), base)
    if notes.get('steps', steps) != steps:
      raise ValueError(
        f'the control in {folder} must have as many steps as the rounds, '
        f'{steps}, got {notes["steps"]}; give another --workdir for other '
        'rounds'
      )
  else:
    began = time.perf_counter()
    model = pretrain_on(base, config, control, optim, root, seed, console)
    trained_model.save_model(
      str(saved),
      dataclasses.replace(base, model=model),
      config.init_from,
      {'seconds': time.perf_counter() - began, 'steps': steps},
    )
  data = pair_dpo.play_data(
    config, base, str(root / f'seed_{seed}' / 'data'), console
  )
  return evaluation_phase.evaluate(
    dataclasses.replace(base, model=model),
    data,
    play,
    folder,
    console,
    learned=True,
  )


def pretrain_on(base, config, control, optim, root, seed, console):
  """Returns the base model after `optim.steps` more pretraining steps."""
  records = scene_records.load_scenes(
    str(root / 'data'),
    'train',
    config.world.seed,
    control.scenes,
    config.world.jitter,
    base,
  )
  transforms = pretraining.transforms(
    base.vocab, base.text, base.lengths, control.mixture
  )

  def batches(start):
    return pretraining.batches(
      records,
      transforms,
      control.batches,
      seed=seed,
      start=start,
      mesh=base.mesh,
    )

  loss = train_step.hashable_partial(
    pretraining.loss,
    mixture=control.mixture,
    schedule=mask_schedules.parse_schedule(config.play.mask_schedule),
    image_tokens=base.model.config.image_tokens,
    reply=base.lengths.reply,
  )
  step = train_step.make_step(loss, optim, jax.random.key(seed), base.mesh)
  kind = type(config)
  training_run = training_loop.TrainingRun(
    step=step,
    make_state=lambda: train_step.state_from_model(
      base.model, optim, base.mesh
    ),
    constants=None,
    batches=batches,
    config=training_loop.LoopConfig(
      optim.steps, config.play.log_every, config.play.save_every
    ),
    mesh=base.mesh,
    folder=str(root / f'control_{seed}' / 'training'),
    identity=identities.identity_of(
      kind, settings.to_json_types(config), 'content'
    )
    | {'seed': seed},
    comparable=functools.partial(identities.identity_of, kind, of='content'),
    label=f'control {seed}: pretraining',
    console=console,
  )
  return resume.run_resumable(training_run).model
