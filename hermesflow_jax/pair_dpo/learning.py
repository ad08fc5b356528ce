"""A round of learning: records to a trained model.

A training step calls the loss of `RoundData.functions`. For pairs this is
`pair_loss.loss`, which calls `pair_log_likelihood.pair_logps` (both pairs to
log-likelihoods) and a function in `methods` (log-likelihoods to losses).
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools
import math
import pathlib

import jax
import numpy as np

from hermesflow_jax.data import input_set
from hermesflow_jax.data import lazy_images
from hermesflow_jax.data import pipeline
from hermesflow_jax.pair_dpo import answer_term
from hermesflow_jax.pair_dpo import group_data
from hermesflow_jax.pair_dpo import learning_config
from hermesflow_jax.pair_dpo import pair_data
from hermesflow_jax.pair_dpo import real_images
from hermesflow_jax.pair_dpo import round_data
from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.training import resume
from hermesflow_jax.training import train_step
from hermesflow_jax.training import trainable
from hermesflow_jax.training import training_loop

# Records whose lengths represent all records in metrics of speed.
_SAMPLED = 200


def step_count(config: learning_config.LearningConfig, records: int) -> int:
  """Returns the steps of a round: `epochs` passes, at most `optim.steps`."""
  if not config.epochs:
    return config.optim.steps
  passes = math.ceil(config.epochs * records / config.batch)
  return max(1, min(config.optim.steps, passes))


def learn_round(
  unified: unified_model.UnifiedModel,
  reference,
  records: Sequence[dict],
  config: learning_config.LearningConfig,
  steps: int,
  folder: pathlib.PurePath,
  number: int,
  console: terminal.Console,
  sample: Callable | None = None,
  images: lazy_images.LazyImages | None = None,
  inputs: input_set.Inputs | None = None,
):
  """Trains a model for a round, and resumes an unfinished round.

  Args:
    unified: model to train, with its tokenizers, lengths and mesh.
    reference: frozen ShowO. Method grpo reads it only for the divergence.
    records: homologous records, see `record_rows.make_transform`; for method
      grpo groups, see `candidate_groups.trainable`.
    config: settings.
    steps: length, see `step_count`.
    folder: folder for metrics, checkpoints, a profile and trained adapters.
    number: round number.
    console: progress output.
    sample: state -> None, called every `sample_every` steps with a full model
      in the state; None for none.
    images: real images of the records, if `unified` has a CLIP tower.
    inputs: the round's inputs, whose questions `objective.answers` learns from;
      None without these answers.

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
  # Computed before the records get reference scores: another machine may round
  # these differently, and must still resume the run.
  identity = _identity(config, steps, records)
  answers = None
  if config.objective.answers.weight:
    start = model if config.objective.uses_groups else reference
    answers = answer_term.make_term(unified, start, inputs, config, number)
    identity['questions'] = answer_term.content_hash(inputs)
  form = group_data if config.objective.uses_groups else pair_data
  data: round_data.RoundData = form.of_records(unified, config, records, images)
  data = data.with_reference_scores(reference, number)
  records = data.records
  order = dict(seed=config.seed + number, batch=config.batch)

  def batches(start):
    transform = data.make_transform(config.objective.drop_condition)
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

  loss, prepare = data.functions()
  if answers:
    multiple = data.parts * optim.accumulate * mesh.shape['data']
    loss, prepare = answers.add_to_functions(loss, prepare, multiple)
    batches = answers.add_to_batches(batches)
  learner = trainable.FullModel(model)
  if config.lora.rank:
    learner = trainable.LoraAdapters(model, config.lora, config.seed + number)
  loss, constants = real_images.with_tower(
    learner.loss(loss), learner.constants(data.frozen_models), tower
  )
  key = jax.random.fold_in(jax.random.key(config.seed), number)
  sampled = records[:: 1 + len(records) // _SAMPLED]
  rng = np.random.default_rng(0)  # No condition is dropped.
  make_row = data.make_transform(0.0)
  work = data.useful_work(
    [make_row(record, rng) for record in sampled], learner.passes
  )
  if answers:
    work = answers.add_to_work(work, model.config, learner.passes)
  run = training_loop.TrainingRun(
    step=train_step.make_step(loss, optim, key, mesh, prepare, data.parts),
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
    comparable=functools.partial(
      identities.identity_of, learning_config.LearningConfig
    ),
    label=f'round {number}: learning',
    console=console,
    names=names,
    sample=sample
    and (
      lambda state: sample(
        dataclasses.replace(state, model=learner.whole(state.model))
      )
    ),
    rates=work,
  )
  state = resume.run_resumable(run)
  learner.save(state.model, folder)
  return learner.whole(state.model)


def _identity(config, steps, records):
  """Returns the settings and records that checkpoints must have."""
  kind = learning_config.LearningConfig
  values = settings.to_json_types(config)
  names = [field.name for field in dataclasses.fields(kind)]
  return identities.identity_of(
    kind, {name: values[name] for name in names}
  ) | {'steps': steps, 'records': pipeline.content_hash(records)}
