"""The user's files of a self-play run."""

import pathlib

from hermesflow_jax.jobs.setup import record_checks
from hermesflow_jax.runtime import terminal


def check_files(
  config, path: pathlib.PurePath, console: terminal.Console
) -> tuple[list[dict], list[pathlib.PurePath]]:
  """Checks the user's files before any weight is read.

  Args:
    config: settings of `pair_dpo`.
    path: model folder from `job_model.locate`, whose text tokenizer is read.
    console: prints how many records are unused, and which are used twice.

  Returns:
    SHA-256 for input files and for held-out files, and the image files; [] and
    [] without files.

  Raises:
    ValueError: a file cannot be used.
  """
  if not config.files:
    return [], []
  return record_checks.check_files(
    (
      (config.files.inputs, config.inputs_of_all_rounds),
      (config.files.held_out, config.held_out),
    ),
    record_checks.load_text_checks(config, path, config.play.answering),
    console,
  )
