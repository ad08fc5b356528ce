"""Starts a job: `python main.py --config=configs/pair_dpo.py`.

An installed package has the same command as `hermesflow`. The code is in
`hermesflow_jax/command`; names are kept here for programs that import `main`.
"""

from hermesflow_jax.runtime import entry_point

if __name__ == '__main__':
  entry_point.prepare()  # Before imports that take time.

from absl import logging

from hermesflow_jax.command import command_flags
from hermesflow_jax.command import job_list
from hermesflow_jax.command import program
from hermesflow_jax.runtime import stop_handlers

__all__ = ['logging', 'stop_handlers']

JOBS = job_list.JOBS
job_of = job_list.import_job
options = command_flags.read
cpu_devices = program.cpu_devices
main = program.main

if __name__ == '__main__':
  program.run()
