"""Self-play runs on files."""

import dataclasses

from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.runtime import terminal


def run_and_hear(config, root):
  """Returns (results, printed lines)."""
  output = []
  console = dataclasses.replace(terminal.silent(), say=output.append)
  return pair_dpo.run(config, str(root), console), output


def two_rounds(config):
  """Settings of two rounds with the same inputs."""
  play = dataclasses.replace(config.play, rounds=2)
  return dataclasses.replace(config, play=play, fresh_inputs=False)
