"""Runs compile for TPU slices that are not attached."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import command_line
import jax
import pytest
import tiny

import configs.pair_dpo
from hermesflow_jax.jobs import compile_for
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.performance.pods import verdicts
from hermesflow_jax.runtime import accelerators
from hermesflow_jax.runtime import settings

SMALL = {
  'sizes.decoder.width': 256,
  'sizes.decoder.layers': 2,
  'sizes.decoder.heads': 4,
  'sizes.decoder.mlp': 512,
  'sizes.lengths.max_text': 16,
  'sizes.lengths.mmu': 96,
  'sizes.lengths.prompt': 64,
  'sizes.lengths.reply': 24,
  'sizes.grid': '(4,4)',
  'sizes.vocab.text_size': 500,
  'sizes.vocab.codebook_size': 64,
  'sizes.vocab.eos': 450,
  'play.batch': 16,
  'chunk': 4,
}


has_compiler = pytest.mark.skipif(
  importlib.util.find_spec('libtpu') is None, reason='no libtpu'
)


def compiled(workdir, variant, topology, **changes):
  """What --compile_for writes."""
  # The compiler ends a process whose flags are only for CPUs.
  done = subprocess.run(
    [
      sys.executable,
      'main.py',
      f'--config=configs/pair_dpo.py:{variant}',
      f'--compile_for={topology}',
      f'--workdir={workdir}',
      *(f'--config.{name}={value}' for name, value in changes.items()),
    ],
    cwd=pathlib.Path(__file__).parents[2],
    env=command_line.environment(),
    text=True,
    capture_output=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  *lines, output = done.stdout.splitlines()
  assert len(lines) == 1 + 5
  (file,) = workdir.glob('*/*.json')
  assert output == f'table: {file.parent / "table.md"}'
  table = (file.parent / 'table.md').read_text().splitlines()
  assert len(table) == 2 + 5 and topology in table[-1]
  return json.loads(file.read_text())


@has_compiler
@pytest.mark.parametrize(
  'topology, data, model',
  [
    ('v5e:2x4', 8, 1),
    ('v5e:4x4', 16, 1),
    ('v5e:4x4', 4, 4),
    ('v5e:8x16', 32, 4),
    ('v5e:16x16', 32, 8),
    ('v5e:16x16', 256, 1),
    ('v6e:8x8', 32, 2),
    ('v5p:4x4x4', 32, 2),
  ],
)
def test_hosts_of_a_slice_have_rows_in_a_row(topology, data, model):
  """Otherwise `sharding.process_rows` ends the run on a pod, and nowhere else."""
  mesh = verdicts.slice_mesh(accelerators.parse_slice(topology), data, model)
  rows = {}
  for number, row in enumerate(mesh.devices):
    for device in row:
      rows.setdefault(device.process_index, set()).add(number)
  for mine in rows.values():
    assert sorted(mine) == list(range(min(mine), max(mine) + 1))
    assert min(mine) % len(mine) == 0


@has_compiler
def test_a_small_run_compiles_for_a_slice(tmp_path):
  actual = compiled(tmp_path, 'show_o_256', 'v5e:4x4', **SMALL)
  assert actual['mesh'] == {'data': 16, 'model': 1}
  # Kernels of TPUs are in the programs.
  assert actual['attention'] == 'splash'
  assert [p['fits'] for p in actual['programs']] == [True] * 5
  step = actual['programs'][0]
  assert step['parts']['parameters'] * 2 == pytest.approx(
    step['parts']['optimizer'], rel=0.01
  )
  assert step['flops'] > 0 and step['bound'] in step['seconds']


def step_of(**play):
  """The step of a small model on eight devices, before it is compiled."""
  config = configs.pair_dpo.get_config('show_o_256')
  del config.job
  with config.unlocked():
    for name, value in SMALL.items():
      value = (4, 4) if name == 'sizes.grid' else value
      config.update_from_flattened_dict({name: value})
    config.play.update(play)
  built = settings.build(pair_dpo.Settings, config.to_dict())
  return compile_for.step_program(compile_for.for_tpu(built), tiny.mesh(4, 2))


@pytest.mark.parametrize('reference, copies', [('round', 1), ('base', 2)])
def test_adapters_want_no_second_model(reference, copies):
  whole = step_of(reference=reference)
  created = step_of(reference=reference, lora={'rank': 4})
  assert len(jax.tree.leaves(created.arguments[1])) == copies * len(
    jax.tree.leaves(whole.parts['parameters'])
  )
  assert ('reference' in created.parts) == (copies == 2)
  size = {
    name: verdicts.bytes_per_chip(tree) for name, tree in created.parts.items()
  }
  before = verdicts.bytes_per_chip(whole.parts['parameters'])
  assert size['parameters'] == before
  assert size['adapters'] < 0.1 * before
  assert size['optimizer'] == pytest.approx(2 * size['adapters'], rel=0.01)


@has_compiler
def test_a_step_of_adapters_wants_less_of_a_slice(tmp_path):
  whole, created = (
    compiled(tmp_path / name, 'show_o_256', 'v5e:4x4', **SMALL, **changes)
    for name, changes in (('whole', {}), ('lora', {'play.lora.rank': 4}))
  )
  (whole, *_), (created, *_) = whole['programs'], created['programs']
  # 10.6 and 12.6 MB; of this small model much is neither weights nor moments.
  assert created['fits'] and created['peak'] < 0.9 * whole['peak']
  assert created['flops'] < whole['flops']


@has_compiler
@pytest.mark.slow
@pytest.mark.parametrize(
  'variant, topology, data, model',
  [
    ('show_o_256', 'v5e:4x4', 16, 1),
    ('show_o_512', 'v5e:16x16', 32, 8),
    ('show_o_512', 'v6e:8x8', 32, 2),
    ('decoder_7b', 'v5p:4x4x4', 32, 2),
  ],
)
def test_shipped_settings_fit_their_slices(
  variant, topology, data, model, tmp_path
):
  actual = compiled(tmp_path, variant, topology)
  assert actual['mesh'] == {'data': data, 'model': model}
  assert [p['fits'] for p in actual['programs']] == [True] * 5
