"""Shares of a curation that start together agree, and dead ones hold nothing."""

import concurrent.futures
import dataclasses
import json
import threading
import time

import pytest
import tiny_world

from hermesflow_jax.jobs.setup import curation_folder
from hermesflow_jax.jobs.setup import folder_contents
from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal


@pytest.fixture
def config(base):
  return tiny_world.self_play(base)


def other_settings(config):
  play = dataclasses.replace(config.play, images=7)
  return dataclasses.replace(config, play=play)


@workdir_claim.releases_workdir
def claim(folder, config, share=(0, 1), then=lambda: None):
  workdir_claim.claim_workdir(
    str(folder), config, terminal.silent(), share=share
  )
  then()


def test_shares_that_restart_at_once_with_new_settings_agree(config, tmp_path):
  """And none of them holds the folder afterwards."""
  claim(tmp_path / 'run', config, (0, 4))
  together = threading.Barrier(4)

  def start(number):
    together.wait(20)
    # All hold the folder at the same time.
    claim(
      tmp_path / 'run',
      other_settings(config),
      (number, 4),
      lambda: together.wait(20),
    )

  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    list(pool.map(start, range(4)))
  (path,) = (tmp_path / 'run').iterdir()
  assert json.loads(path.read_text())['play']['images'] == 7


def test_a_killed_share_holds_a_bucket_for_ten_minutes(config, bucket):
  """Its lock is of another machine, so nobody knows that it was killed."""
  claim('gs://bucket/run', config, (0, 2))
  record = {'host': 'elsewhere', 'process': 7, 'began': 'noon'}

  def lock_of_age(minutes):
    renewed = {'renewed': time.time() - 60 * minutes}
    bucket.put('run/share_of_2_1.lock', json.dumps(record | renewed).encode())

  for changed, share in ((other_settings(config), (0, 2)), (config, (0, 1))):
    lock_of_age(9)
    with pytest.raises(ValueError, match='share_of_2_1.lock is stale from 20'):
      claim('gs://bucket/run', changed, share)
    lock_of_age(11)
    claim('gs://bucket/run', changed, share)
  assert bucket.names('run/') == ['run/settings.json', 'run/share_of_2_1.lock']


def test_the_end_of_a_curation_leaves_no_lock(tmp_path):
  # An earlier release left it empty.
  (tmp_path / 'finish.lock').touch()
  with curation_folder.finish_lock(tmp_path):
    assert (tmp_path / 'finish.lock').exists()
  assert not any(tmp_path.iterdir())


def test_locks_of_a_moment_are_of_no_other_job(tmp_path):
  for name in ('start', 'finish', 'run', 'share_of_2_1'):
    (tmp_path / f'{name}.lock').touch()
  (lock,) = folder_contents.other_locks(storage.path(tmp_path), 'run')
  assert lock.name == 'share_of_2_1.lock'
