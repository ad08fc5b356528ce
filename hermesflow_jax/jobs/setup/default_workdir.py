"""Run folder that a job chose; imports no JAX."""

import os

# Jobs of seconds or minutes, which users repeat with other prompts or images.
MAKE_WAY = ('generate', 'understand', 'data')


class DefaultWorkdir(str):
  """A run folder that the user did not name.

  An older run in it makes way for a run with other settings: its folder is
  renamed.
  """


def choose(workdir: str | None, job: str, variant: str) -> str:
  """Returns the run folder of a command.

  Args:
    workdir: the folder that the user named; None for the default.
    job: job name.
    variant: config variant; '' for none.

  Raises:
    ValueError: the user named no folder by ''.
  """
  if workdir is None:
    folder = os.path.join('runs', job, variant)
    return DefaultWorkdir(folder) if job in MAKE_WAY else folder
  if not workdir.strip():
    raise ValueError(
      f'workdir must be a folder, got {workdir!r}; leave the flag out for '
      f'runs/{job}'
    )
  return workdir
