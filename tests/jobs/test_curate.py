"""Pairs of many inputs: the same for all processes, meshes and stops."""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny_world

import configs.curate
from hermesflow_jax.curation import candidate_generation
from hermesflow_jax.curation import pair_dataset
from hermesflow_jax.jobs import curate
from hermesflow_jax.jobs.setup import job_inputs
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal

ROOT = pathlib.Path(__file__).parents[2]
SMALL = {'inputs': 10, 'shard': 3, 'images': 2}


@pytest.fixture(scope='module')
def base(tmp_path_factory):
  return tiny_world.bundle(tmp_path_factory.mktemp('base'))


def configured(base, **changes):
  config = configs.curate.get_config()
  del config.job
  config.update({'init_from': str(base)} | SMALL)
  config.captions = config.captions[-2:]
  config.sampler.update({'steps': 2})
  config.rules.update({'least_win': 0.0})
  config.update(changes)
  return settings.build(curate.Settings, config.to_dict())


def run(base, folder, **changes):
  """Runs the job: (manifest or None, what was said)."""
  said = []
  console = terminal.Console(said.append, lambda label: lambda x: x)
  return curate.run(configured(base, **changes), str(folder), console), said


def outcome(folder):
  """The bytes of all that is a result."""
  files = [*(folder / 'shards').iterdir(), folder / 'pairs.jsonl']
  return {path.name: path.read_bytes() for path in files}


@pytest.fixture(scope='module')
def whole(base, tmp_path_factory):
  """The folder of a run that nothing stopped."""
  folder = tmp_path_factory.mktemp('whole') / 'run'
  run(base, folder)
  return folder


def rows_of(folder):
  lines = (folder / 'pairs.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def test_each_input_is_there_once(whole):
  rows = rows_of(whole)
  ids = [row['id'] for row in rows]
  assert ids == sorted(set(ids)) and len(ids) == SMALL['inputs']
  manifest = json.loads((whole / 'manifest.json').read_text())
  assert (manifest['inputs'], manifest['shards']) == (10, 4)
  for counts in manifest['drops'].values():
    assert sum(counts.values()) == 10
  assert {name.partition('/')[0] for name in manifest['sha256']} == {
    'pairs.jsonl',
    'tfds',
  }
  assert any('array_record' in name for name in manifest['sha256'])
  for name, wanted in manifest['sha256'].items():
    assert output_files.sha256(whole / name) == wanted


def test_a_dataset_for_training_holds_the_same_pairs(whole):
  rows = rows_of(whole)
  rows = {row['id']: row for row in rows}
  found = pair_dataset.data_source(str(whole / 'tfds'))
  assert len(found) == len(rows)
  for record in found:
    row = rows[record['id'].decode()]
    for name in ('codes', 'codes_win', 'codes_lose'):
      np.testing.assert_array_equal(record[name], row[name])
    for name in ('caption', 'caption_win', 'caption_lose', 'image_dropped'):
      assert record[name].decode() == row[name]
    for name in ('caption_score_win', 'vqa_score_lose'):
      np.testing.assert_allclose(record[name], row[name], rtol=1e-6)


def test_no_pairs_are_no_dataset(tmp_path):
  with pytest.raises(ValueError, match='no pairs at'):
    pair_dataset.data_source(str(tmp_path))


@pytest.mark.parametrize('mesh', [(4, 2), (2, 4)])
def test_a_mesh_changes_nothing(base, whole, tmp_path, mesh):
  run(base, tmp_path / 'run', mesh={'data': mesh[0], 'model': mesh[1]})
  found = outcome(tmp_path / 'run')
  for name, data in outcome(whole).items():
    assert found[name] == data, name


def test_shares_make_the_same_together(base, whole, tmp_path):
  first, said = run(base, tmp_path / 'run', share=0, shares=2)
  assert first is None and '2 of 4 shards belong to other shares' in said[-1]
  manifest, said = run(base, tmp_path / 'run', share=1, shares=2)
  assert manifest and '2 of 4 shards found' in said[1]
  assert outcome(tmp_path / 'run') == outcome(whole)


def stopped_at_third(monkeypatch):
  """Interrupts the third shard that is made; returns the ids of all."""
  made, calls = candidate_generation.generate, []

  def counted(unified, inputs, recipe):
    calls.append(inputs.ids)
    if len(calls) == 3:
      raise KeyboardInterrupt
    return made(unified, inputs, recipe)

  monkeypatch.setattr(candidate_generation, 'generate', counted)
  return calls


def test_an_interrupted_run_makes_only_what_is_missing(
  base, whole, tmp_path, monkeypatch
):
  calls = stopped_at_third(monkeypatch)
  with pytest.raises(KeyboardInterrupt):
    run(base, tmp_path / 'run')
  run(base, tmp_path / 'run')
  # The third shard was in flight; the two before it were made once.
  assert len(calls) == 5 and calls[2] == calls[3]
  assert outcome(tmp_path / 'run') == outcome(whole)
  _, said = run(base, tmp_path / 'run')
  assert 'this run is finished' in said[-1] and len(calls) == 5


def test_shards_of_other_inputs_are_refused_before_any_work(
  base, tmp_path, monkeypatch
):
  calls = stopped_at_third(monkeypatch)
  with pytest.raises(KeyboardInterrupt):
    run(base, tmp_path / 'run')
  read = job_inputs.read_inputs

  def changed(*args):
    return [row | {'codes': (row['codes'] + 1) % 2} for row in read(*args)]

  monkeypatch.setattr(job_inputs, 'read_inputs', changed)
  with pytest.raises(ValueError, match='made from other inputs'):
    run(base, tmp_path / 'run')
  assert len(calls) == 3


def test_shares_that_end_at_once_write_the_pairs_once(
  base, whole, tmp_path, monkeypatch
):
  folder = tmp_path / 'run'
  shutil.copytree(whole, folder)
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
      both.submit(run, base, folder, share=share, shares=2)
      for share in range(2)
    ]
  first, second = (each.result()[0] for each in ended)
  assert first == second and len(calls) == 1
  assert outcome(folder) == outcome(whole)


def test_damage_is_found_and_made_again(base, whole, tmp_path):
  run(base, tmp_path / 'run')
  (tmp_path / 'run' / 'manifest.json').unlink()
  path = next((tmp_path / 'run' / 'shards').glob('000002.npz'))
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)
  _, said = run(base, tmp_path / 'run')
  assert any('3 of 4 shards found' in line for line in said)
  assert outcome(tmp_path / 'run') == outcome(whole)


def changed_line(source, number, **changes):
  """Changes a record of a source."""
  path = pathlib.Path(source.annotations)
  lines = path.read_text().splitlines()
  lines[number] = json.dumps(json.loads(lines[number]) | changes)
  path.write_text('\n'.join(lines) + '\n')


def test_what_does_not_fit_into_a_row_is_heard_of_before_any_work(
  base, tmp_path, monkeypatch
):
  source = tiny_world.files(tmp_path, 'preference', 4)
  question = 'what is ' + 'the ring with ' * 9 + '?'
  changed_line(
    source,
    1,
    questions=[{'question': question, 'choices': ['a', 'b'], 'answer': 'a'}],
  )
  changed_line(source, 2, caption='a red ring and ' * 9)
  files = dataclasses.asdict(source)
  calls = stopped_at_third(monkeypatch)
  with pytest.raises(ValueError, match='line 2: question must have at most'):
    run(base, tmp_path / 'a', files=files, inputs=4)
  assert not calls
  manifest, said = run(
    base, tmp_path / 'b', files=files | {'on_error': 'skip'}, inputs=4, shard=8
  )
  assert manifest['inputs'] == 3
  assert calls == [['preference-0', 'preference-2', 'preference-3']]
  assert said[0].endswith('1 of 4 left out:') and 'line 2: ' in said[1]
  assert '1 captions are too long' in said[2] and 'preference-2' in said[2]


@pytest.mark.parametrize(
  'changes, said',
  [
    ({'share': 2, 'shares': 2}, 'share must be less than shares, 2, got 2'),
    ({'shard': 0}, 'shard must be at least 1, got 0'),
    ({'images': 1}, 'images must be at least 2, got 1'),
  ],
)
def test_what_makes_no_sense_is_refused(base, changes, said):
  with pytest.raises(ValueError, match=said):
    configured(base, **changes)


@pytest.mark.slow
def test_kills_at_random_times_lose_nothing(tmp_path):
  """By the command line: kill -9, again and again, and the same bytes."""
  command = [
    sys.executable,
    str(ROOT / 'main.py'),
    '--config=configs/curate.py',
    '--config.inputs=60',
    '--config.shard=10',
    '--config.images=2',
  ]

  def start(folder):
    return subprocess.Popen(
      [*command, f'--workdir={folder}'],
      cwd=ROOT,
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
  assert outcome(tmp_path / 'run') == outcome(tmp_path / 'whole')


def test_a_bucket_gets_what_a_folder_gets(base, whole, bucket, tmp_path):
  """By two shares, of which both make the pairs."""
  bucket.put_folder('base', base)
  first, _ = run('gs://bucket/base', 'gs://bucket/run', share=0, shares=2)
  assert first is None
  found, _ = run('gs://bucket/base', 'gs://bucket/run', share=1, shares=2)
  manifest = json.loads((whole / 'manifest.json').read_text())
  assert found == manifest
  del bucket.blobs['run/manifest.json']
  again, _ = run('gs://bucket/base', 'gs://bucket/run', share=0, shares=2)
  assert again == manifest
  bucket.get_folder('run', tmp_path / 'run')
  assert outcome(tmp_path / 'run') == outcome(whole)
