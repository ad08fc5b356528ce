"""Shards, shares and stops do not change the pairs of a curation."""

import concurrent.futures
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import curate_runs
import pytest

from hermesflow_jax.jobs import curate
from hermesflow_jax.jobs.setup import job_inputs


def test_a_mesh_changes_nothing(base, whole_curation, tmp_path):
  curate_runs.run(base, tmp_path / 'run', mesh={'data': 2, 'model': 4})
  actual = curate_runs.outcome(tmp_path / 'run')
  for name, data in curate_runs.outcome(whole_curation).items():
    assert actual[name] == data, name


def test_shares_make_the_same_together(base, whole_curation, tmp_path):
  first, output = curate_runs.run(base, tmp_path / 'run', share=0, shares=2)
  assert first is None and '2 of 4 shards belong to other shares' in output[-1]
  manifest, output = curate_runs.run(base, tmp_path / 'run', share=1, shares=2)
  assert manifest and '2 of 4 shards found' in output[1]
  assert curate_runs.outcome(tmp_path / 'run') == curate_runs.outcome(
    whole_curation
  )


def test_an_interrupted_run_makes_only_what_is_missing(
  base, whole_curation, tmp_path, monkeypatch
):
  calls = curate_runs.stopped_at_third(monkeypatch)
  with pytest.raises(KeyboardInterrupt):
    curate_runs.run(base, tmp_path / 'run')
  curate_runs.run(base, tmp_path / 'run')
  # The third shard was in flight; the two before it were made once.
  assert len(calls) == 5 and calls[2] == calls[3]
  assert curate_runs.outcome(tmp_path / 'run') == curate_runs.outcome(
    whole_curation
  )
  _, output = curate_runs.run(base, tmp_path / 'run')
  assert 'this run is finished' in output[-1] and len(calls) == 5


def test_shards_of_other_inputs_are_refused_before_any_work(
  base, tmp_path, monkeypatch
):
  calls = curate_runs.stopped_at_third(monkeypatch)
  with pytest.raises(KeyboardInterrupt):
    curate_runs.run(base, tmp_path / 'run')
  read = job_inputs.read_inputs

  def changed(*args):
    return [row | {'codes': (row['codes'] + 1) % 2} for row in read(*args)]

  monkeypatch.setattr(job_inputs, 'read_inputs', changed)
  with pytest.raises(ValueError, match='made from other inputs'):
    curate_runs.run(base, tmp_path / 'run')
  assert len(calls) == 3


def test_shares_that_end_at_once_write_the_pairs_once(
  base, whole_curation, tmp_path, monkeypatch
):
  folder = tmp_path / 'run'
  shutil.copytree(whole_curation, folder)
  for path in (folder / 'manifest.json', folder / 'pairs.jsonl'):
    path.unlink()
  shutil.rmtree(folder / 'tfds')
  finish, calls = curate.write_pairs, []

  def slow(*args):
    calls.append(args)
    time.sleep(0.5)
    return finish(*args)

  monkeypatch.setattr(curate, 'write_pairs', slow)
  with concurrent.futures.ThreadPoolExecutor(2) as both:
    ended = [
      both.submit(curate_runs.run, base, folder, share=share, shares=2)
      for share in range(2)
    ]
  first, second = (item.result()[0] for item in ended)
  assert first == second and len(calls) == 1
  assert curate_runs.outcome(folder) == curate_runs.outcome(whole_curation)


def test_damage_is_found_and_made_again(base, whole_curation, tmp_path):
  curate_runs.run(base, tmp_path / 'run')
  (tmp_path / 'run' / 'manifest.json').unlink()
  path = next((tmp_path / 'run' / 'shards').glob('000002.npz'))
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)
  _, output = curate_runs.run(base, tmp_path / 'run')
  assert any('3 of 4 shards found' in line for line in output)
  assert curate_runs.outcome(tmp_path / 'run') == curate_runs.outcome(
    whole_curation
  )


@pytest.mark.slow
def test_kills_at_random_times_lose_nothing(tmp_path):
  """By the command line: kill -9, again and again, and the same bytes."""
  command = [
    sys.executable,
    str(curate_runs.ROOT / 'main.py'),
    '--config=configs/curate.py',
    '--config.inputs=60',
    '--config.shard=10',
    '--config.images=2',
  ]

  def start(folder):
    return subprocess.Popen(
      [*command, f'--workdir={folder}'],
      cwd=curate_runs.ROOT,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )

  began = time.monotonic()
  assert start(tmp_path / 'whole').wait() == 0
  whole = time.monotonic() - began
  draw, kills = random.Random(0), 0
  while True:
    process = start(tmp_path / 'run')
    try:
      assert process.wait(draw.uniform(0.35, 0.8) * whole) == 0
      break
    except subprocess.TimeoutExpired:
      os.kill(process.pid, signal.SIGKILL)
      process.wait()
      kills += 1
  print(f'\n{kills} kills')
  assert kills
  assert curate_runs.outcome(tmp_path / 'run') == curate_runs.outcome(
    tmp_path / 'whole'
  )


def comparable(manifest):
  """A manifest without hashes of bytes that differ between processes.

  Protocol buffers write the fields of an example in an order that depends on
  the process. `outcome` compares the pairs that the examples are made from.
  """
  hashes = {
    name: None if 'array_record' in name else value
    for name, value in manifest['sha256'].items()
  }
  return manifest | {'sha256': hashes}


def test_a_bucket_gets_what_a_folder_gets(
  base, whole_curation, bucket, tmp_path
):
  """By two shares, of which both make the pairs."""
  bucket.put_folder('base', base)
  first, _ = curate_runs.run(
    'gs://bucket/base', 'gs://bucket/run', share=0, shares=2
  )
  assert first is None
  actual, _ = curate_runs.run(
    'gs://bucket/base', 'gs://bucket/run', share=1, shares=2
  )
  manifest = json.loads((whole_curation / 'manifest.json').read_text())
  assert comparable(actual) == comparable(manifest)
  del bucket.blobs['run/manifest.json']
  again, _ = curate_runs.run(
    'gs://bucket/base', 'gs://bucket/run', share=0, shares=2
  )
  assert comparable(again) == comparable(manifest)
  bucket.get_folder('run', tmp_path / 'run')
  assert curate_runs.outcome(tmp_path / 'run') == curate_runs.outcome(
    whole_curation
  )
