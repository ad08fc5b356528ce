"""Learning phase: Pair-DPO on the round's pairs, or GRPO on its groups."""

import dataclasses
import time

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import read_errors
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.curation import candidate_files
from hermesflow_jax.data import image_writer
from hermesflow_jax.models import showo
from hermesflow_jax.pair_dpo import candidate_groups
from hermesflow_jax.pair_dpo import learning
from hermesflow_jax.pair_dpo import record_rows
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_names
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.sampling import batched
from hermesflow_jax.self_play import round_state

# Inputs that are captioned and generated at intervals during training.
_SAMPLES = 4


def learn(
  this_round: round_state.Round, pairs: dict
) -> tuple[showo.ShowO, dict]:
  """Trains the model, or reads the round's checkpoint.

  A damaged checkpoint is replaced: training starts again from the previous
  round and, on the same hardware, writes the same bits.

  Args:
    this_round: round state before training.
    pairs: pairs by input id.

  Returns:
    The trained model, and a record with inputs, steps and seconds.
  """
  name, path = this_round.folder.name, this_round.checkpoint
  unified = dataclasses.replace(this_round.base, model=this_round.model)
  if processes.broadcast_from_first(lambda: checkpoint.exists(path)):
    try:
      model, record = trained_model.restore_parts(str(path), unified)
    except read_errors.DamagedError as error:
      this_round.console.say(f'{error}: {name} is trained again')
    else:
      this_round.console.say(f'{name}: checkpoint found, skipping training')
      _remove_step_checkpoints(this_round)
      return model, record
  began = time.perf_counter()
  rows, summary = _records(this_round, pairs)
  steps = learning.step_count(this_round.config, len(rows)) if rows else 0
  if rows:
    model = learning.learn_round(
      unified,
      this_round.reference,
      rows,
      this_round.config,
      steps,
      this_round.folder / 'training',
      this_round.number,
      this_round.console,
      _sample_writer(this_round),
      _real_images(this_round, rows),
      _question_inputs(this_round),
    )
  else:
    model = this_round.model
    this_round.console.say(
      f'{name}: all {_unit(this_round)} were dropped, skipping training'
    )
  record = {
    'round': this_round.number,
    'inputs': len(rows),
    'steps': steps,
    'seconds': time.perf_counter() - began,
  } | summary
  # A checkpoint at this path is a damaged one.
  processes.on_first_process(lambda: checkpoint.remove(path))
  trained_model.save_model(
    str(path),
    dataclasses.replace(this_round.base, model=model),
    this_round.source,
    record,
  )
  _remove_step_checkpoints(this_round)
  return model, record


def _unit(this_round) -> str:
  return 'groups' if this_round.config.objective.uses_groups else 'pairs'


def _records(this_round, pairs) -> tuple[list[dict], dict]:
  """Returns the records to learn from, and a summary of groups."""
  config, inputs = this_round.config, this_round.inputs
  if not config.objective.uses_groups:
    return record_rows.join_pairs(inputs, pairs, config.rules.both), {}
  processes.barrier()
  groups = candidate_groups.join_groups(
    inputs.ids,
    inputs.captions,
    inputs.codes,
    candidate_files.read_candidates(this_round.folder),
    config.objective,
  )
  summary = candidate_groups.summarize(groups)
  for line in candidate_groups.summary_lines(summary):
    this_round.console.say(f'{this_round.folder.name}: {line}')
  return candidate_groups.trainable(groups), summary


def _question_inputs(this_round):
  """Returns inputs with questions; None if no answer is learned from."""
  if not this_round.config.objective.answers.weight:
    return None
  return this_round.question_inputs


def _real_images(this_round, rows):
  """Returns the real images of records; None for a model that reads codes."""
  inputs = this_round.inputs
  if inputs.pixels is None:
    return None
  places = disk_names.places(inputs.ids)
  return inputs.pixels[disk_arrays.Integers(places[row['id']] for row in rows)]


def _sample_writer(this_round):
  """Returns a function that writes samples from a training state.

  For the first inputs it generates an image from the caption and a caption
  from the image, and writes a contact sheet and JSON lines.
  """
  config = this_round.config
  inputs = this_round.inputs.part(slice(0, _SAMPLES))
  silent = dataclasses.replace(
    this_round.base, progress=lambda label: lambda items: items
  )

  def write_samples(state):
    unified = dataclasses.replace(silent, model=state.model)
    codes = unified.draw(
      inputs.ids, inputs.captions, 1, config.evaluation_sampler, config.seed
    )[:, 0]
    captions = unified.describe(
      inputs.ids, inputs.images, [batched.GREEDY], config.seed
    )
    folder, step = this_round.folder / 'samples', f'{int(state.step):06d}'
    image_writer.contact_sheet(
      folder / f'{step}.png',
      list(zip(unified.decode(inputs.codes), unified.decode(codes))),
      inputs.captions,
    )
    rows = [
      {'id': name, 'caption': caption, 'written': written}
      for name, caption, (written,) in zip(
        inputs.ids, inputs.captions, captions
      )
    ]
    output_files.write_atomically(
      folder / f'{step}.jsonl', output_files.json_lines(rows)
    )

  return write_samples


def _remove_step_checkpoints(this_round):
  """Removes checkpoints within a round whose final checkpoint is saved."""
  processes.on_first_process(
    lambda: storage.remove(this_round.folder / 'training' / 'steps')
  )
