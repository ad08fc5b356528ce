"""Self-play runs on files."""

import dataclasses

import tiny_world

from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.runtime import terminal


def one_round(base, folder):
  """Settings of a round on files that this writes into a folder."""
  config = tiny_world.self_play(base)
  data = pair_dpo.OwnFiles(
    inputs=tiny_world.files(folder, 'preference', 6),
    held_out=tiny_world.files(folder, 'eval', 4),
  )
  play = dataclasses.replace(config.play, rounds=1)
  return dataclasses.replace(config, files=data, play=play)


def run_and_hear(config, root):
  """Returns (results, printed lines)."""
  output = []
  console = dataclasses.replace(terminal.silent(), say=output.append)
  return pair_dpo.run(config, str(root), console), output


def two_rounds(config):
  """Settings of two rounds with the same inputs."""
  play = dataclasses.replace(config.play, rounds=2)
  return dataclasses.replace(config, play=play, fresh_inputs=False)
