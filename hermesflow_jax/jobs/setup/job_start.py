"""Job start: initial model, claimed folder, results from a finished run."""

import json
import pathlib

import jax

from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal


def load_initial_model(
  config: job_model.ModelSettings,
  path: pathlib.PurePath,
  mesh: jax.sharding.Mesh,
) -> tuple[model_bundle.Bundle, dict[str, str]]:
  """Reads a job's initial model.

  Args:
    config: job settings.
    path: folder from `job_model.locate`.
    mesh: device mesh.

  Returns:
    The model, and SHA-256 by weight name.

  Raises:
    ValueError: a file is damaged, or its sizes differ from `config.sizes`.
  """
  parts = job_model.load_parts(config, path, mesh)
  return parts, job_model.weight_hashes(config, path)


def claim_and_read_results(
  workdir: str, config, console: terminal.Console, file: str, **identity
) -> dict | list | None:
  """Claims the run folder; returns the results if the run is finished.

  Args:
    workdir: run folder.
    config: job settings, a dataclass.
    console: prints that a run resumes.
    file: results file, which a job writes last: `.json`, or
      `.jsonl` with an object per line.
    **identity: further JSON values that identify the run, e.g. input hashes;
      see `workdir_claim.claim_workdir`.

  Returns:
    Results; None if the run is not finished.

  Raises:
    ValueError: the folder cannot be written, or holds another run.
  """
  workdir_claim.claim_workdir(workdir, config, console, **identity)
  return processes.broadcast_from_first(
    lambda: read_results(storage.path(workdir) / file)
  )


def read_results(path: pathlib.PurePath) -> dict | list | None:
  """Reads a `.json` or `.jsonl` file; returns None without a file."""
  if not path.exists():
    return None
  text = path.read_bytes().decode()
  if path.suffix == '.jsonl':
    # Not `splitlines`: a text may hold U+2028, which also ends a line.
    return [json.loads(line) for line in text.split('\n') if line]
  return json.loads(text)


def report_finished(
  console: terminal.Console,
  workdir: str,
  location: pathlib.PurePath,
  advice: str = '',
) -> None:
  """Prints that a run is finished, and how to start another run.

  Args:
    console: prints the line.
    workdir: run folder.
    location: file or folder to look at.
    advice: another way to continue, or ''.
  """
  console.say(
    f'this run is finished: see {location}; {advice}to start afresh, remove '
    f'{storage.path(workdir)} or give another --workdir'
  )
