"""The learning phase of a round."""

import dataclasses
import time

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import read_errors
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.data import image_writer
from hermesflow_jax.pair_dpo import learning
from hermesflow_jax.pair_dpo import record_rows
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.sampling import batched

# Inputs whose samples are looked at while a round learns.
_SAMPLES = 4


def _sampling(player, inputs, config, folder):
  """state -> None; shows what it draws and writes of the first inputs."""
  first = inputs.part(slice(0, _SAMPLES))
  quiet = dataclasses.replace(player, progress=lambda label: lambda x: x)

  def sample(state):
    now = dataclasses.replace(quiet, model=state.model)
    codes = now.draw(
      first.ids, first.captions, 1, config.evaluation_sampler, config.seed
    )[:, 0]
    written = now.describe(
      first.ids, first.codes, [batched.GREEDY], config.seed
    )
    name = f'{int(state.step):06d}'
    image_writer.contact_sheet(
      folder / f'{name}.png',
      list(zip(now.decode(first.codes), now.decode(codes))),
      first.captions,
    )
    output_files.write_atomically(
      folder / f'{name}.jsonl',
      output_files.json_lines(
        [
          {'id': each, 'caption': true, 'written': caption}
          for each, true, (caption,) in zip(first.ids, first.captions, written)
        ]
      ),
    )

  return sample


def learn(
  model, reference, base, inputs, pairs, config, root, number, console, source
):
  """Trains a round once; later calls read its checkpoint and its meta.

  One that is damaged is made again from the round before; where it was made,
  with the same bits.
  """
  path = root / 'checkpoints' / str(number)
  folder = root / f'round_{number}'
  player = dataclasses.replace(base, model=model)
  if processes.broadcast_from_first(lambda: checkpoint.exists(path)):
    try:
      found, learned = trained_model.restore_parts(str(path), player)
    except read_errors.Damaged as error:
      console.say(f'{error}: {folder.name} is learned again')
    else:
      console.say(f'{folder.name}: checkpoint is there')
      _forget_steps(folder)
      return found, learned
  began = time.perf_counter()
  rows = record_rows.join_pairs(inputs, pairs, config.rules.both)
  steps = learning.step_count(config, len(rows)) if rows else 0
  if rows:
    model = learning.learn_round(
      player,
      reference,
      rows,
      config,
      steps,
      folder / 'training',
      number,
      console,
      _sampling(base, inputs, config, folder / 'samples'),
    )
  else:
    console.say(f'{folder.name}: no pair was kept, nothing is learned')
  meta = {
    'round': number,
    'inputs': len(rows),
    'steps': steps,
    'seconds': time.perf_counter() - began,
  }
  # Only one that is damaged can be there.
  processes.on_first_process(lambda: checkpoint.remove(path))
  player = dataclasses.replace(base, model=model)
  trained_model.save_model(str(path), player, source, meta)
  _forget_steps(folder)
  return model, meta


def _forget_steps(folder):
  """Removes the checkpoints within a round that has its own."""
  processes.on_first_process(
    lambda: storage.remove(folder / 'training' / 'steps')
  )
