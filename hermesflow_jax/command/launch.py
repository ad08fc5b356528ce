"""Console script `hermesflow`: handles stop signals, then loads the program."""

from typing import NoReturn

from hermesflow_jax.runtime import entry_point


def run() -> NoReturn:
  """Runs the command line of this process, and ends the process."""
  entry_point.prepare()
  # Its imports take a quarter of a second.
  from hermesflow_jax.command import program

  program.run()
