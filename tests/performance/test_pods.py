"""Slices that are not there: their names, and what compiled programs say."""

import dataclasses
import functools
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import types

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

import configs.pair_dpo
from hermesflow_jax.jobs import compile_for
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.performance.pods import hlo
from hermesflow_jax.performance.pods import programs
from hermesflow_jax.performance.pods import verdicts
from hermesflow_jax.runtime import accelerators
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import terminal
from hermesflow_jax.training import chunked_log_likelihood

P = jax.sharding.PartitionSpec


def test_a_slice_has_the_chips_of_its_shape():
  found = accelerators.parse_slice('v5p:4x4x8')
  assert (found.count, found.name) == (128, 'v5p:4x4x8')
  assert accelerators.parse_slice('v5e:16x16').chip.memory == 16e9


@pytest.mark.parametrize(
  'text',
  [
    '',
    'v4:2x2x2',
    'v5e',
    'v5e:',
    'v5e:4',
    'v5e:4x4x4',
    'v5p:4x4',
    'v6e:0x4',
    'v6e:4xx4',
    'v6e:4x4 ',
  ],
)
def test_what_is_no_slice_is_refused(text):
  with pytest.raises(ValueError, match='topology'):
    accelerators.parse_slice(text)


# A loop of five turns that takes a slice of a stack and adds up over 8 chips;
# beside it a product whose operand lies in memory near the processor.
TEXT = """
HloModule jit_f, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %sum = f32[] add(%x, %y)
}

%sliced (stack: f32[5,16,32], at: s32[]) -> f32[16,32] {
  %stack = f32[5,16,32]{2,1,0} parameter(0)
  %at = s32[] parameter(1)
  %zero = s32[] constant(0)
  %slice = f32[1,16,32]{2,1,0} dynamic-slice(%stack, %at, %zero, %zero), dynamic_slice_sizes={1,16,32}
  ROOT %flat = f32[16,32]{1,0} bitcast(%slice)
}

%body (state: (s32[], f32[16,32], f32[5,16,32])) -> (s32[], f32[16,32], f32[5,16,32]) {
  %state = (s32[], f32[16,32]{1,0}, f32[5,16,32]{2,1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %stacked = f32[5,16,32]{2,1,0} get-tuple-element(%state), index=2
  %one = f32[16,32]{1,0} fusion(%stacked, %i), kind=kLoop, calls=%sliced
  %all = f32[16,32]{1,0} all-reduce(%one), channel_id=1, replica_groups=[1,8]<=[8], to_apply=%add
  ROOT %next = (s32[], f32[16,32]{1,0}, f32[5,16,32]{2,1,0}) tuple(%i, %all, %stacked)
}

%condition (state.1: (s32[], f32[16,32], f32[5,16,32])) -> pred[] {
  %state.1 = (s32[], f32[16,32]{1,0}, f32[5,16,32]{2,1,0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%state.1), index=0
  %five = s32[] constant(5)
  ROOT %less = pred[] compare(%i.1, %five), direction=LT
}

ENTRY %main (near: f32[8,8], far: f32[8,8]) -> f32[8,8] {
  %near = f32[8,8]{1,0:T(8,128)S(1)} parameter(0)
  %far = f32[8,8]{1,0} parameter(1)
  %start = (s32[], f32[16,32]{1,0}, f32[5,16,32]{2,1,0}) tuple()
  %loop = (s32[], f32[16,32]{1,0}, f32[5,16,32]{2,1,0}) while(%start), condition=%condition, body=%body
  %begin = (f32[8,8]{1,0}, f32[32,8]{1,0}) all-gather-start(%far), channel_id=2, replica_groups={{0,1,2,3},{4,5,6,7}}, dimensions={0}
  %end = f32[32,8]{1,0} all-gather-done(%begin)
  ROOT %product = f32[8,8]{1,0} dot(%near, %far), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""


def test_collectives_count_by_the_turns_of_their_loop():
  found = hlo.network_traffic(TEXT, 8)
  matrix = 16 * 32 * 4
  assert found.network == {
    'all-reduce': 5 * 2 * matrix * 7 / 8,
    'all-gather': 3 * 8 * 8 * 4,
  }
  assert found.count == {'all-reduce': 5, 'all-gather': 1}


def test_what_goes_on_behind_a_loop_counts_once():
  """It stands in the loop too, with the number of where it begins."""
  text = TEXT.replace(
    '  %all = f32[16,32]{1,0} all-reduce(%one), channel_id=1',
    '  %behind = f32[32,8]{1,0} all-gather(%one), channel_id=2, '
    'replica_groups={{0,1,2,3},{4,5,6,7}}, dimensions={0}\n'
    '  %all = f32[16,32]{1,0} all-reduce(%one), channel_id=1',
  )
  assert hlo.network_traffic(text, 8) == hlo.network_traffic(TEXT, 8)


@pytest.mark.parametrize(
  'groups, chips',
  [
    ('{}', 8),
    ('[4,2]<=[8]', 2),
    ('[2,4]<=[4,2]T(1,0)', 4),
    ('{{0,1,2,3},{4,5,6,7}}', 4),
    ("mesh['a'=4,'b'=2] {'b'}", 2),
    ("mesh['a'=4,'b'=2] {'a','b'}", 8),
    ("mesh['a'=4,'b'=2] {'a':(2)2}", 2),
    ("mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}", 4),
  ],
)
def test_a_collective_joins_the_chips_of_its_group(groups, chips):
  text = TEXT.replace('[1,8]<=[8]', groups).replace(
    'condition=%condition', 'condition=%other'
  )
  text = text.replace(
    'body=%body', 'body=%body, backend_config={"known_trip_count":{"n":"3"}}'
  )
  found = hlo.network_traffic(text, 8)
  part = (chips - 1) / chips
  assert found.network['all-reduce'] == 3 * 2 * 16 * 32 * 4 * part


def test_groups_of_an_unknown_form_are_not_guessed():
  with pytest.raises(ValueError, match='unknown form'):
    hlo.network_traffic(TEXT.replace('[1,8]<=[8]', '<0..7>'), 8)


@pytest.mark.parametrize('shape', [(8, 1), (4, 2)])
def test_a_compiled_program_is_read(shape):
  mesh = tiny.mesh(*shape)

  @functools.partial(jax.jit, out_shardings=jax.NamedSharding(mesh, P()))
  def summed(stack, x):
    # Rows of x are split, so each product wants a sum over the devices.
    return jax.lax.scan(lambda c, w: (c, w @ x), 0, stack)[1]

  stack = jax.ShapeDtypeStruct(
    (5, 16, 64),
    jnp.float32,
    sharding=jax.NamedSharding(mesh, P(None, None, 'data')),
  )
  x = jax.ShapeDtypeStruct(
    (64, 32), jnp.float32, sharding=jax.NamedSharding(mesh, P('data'))
  )
  text = summed.lower(stack, x).compile().as_text()
  found = hlo.network_traffic(text, 8)
  wanted = 5 * 2 * 16 * 32 * 4 * (shape[0] - 1) / shape[0]
  assert sum(found.network.values()) == pytest.approx(wanted)


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
  env = {k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'}
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
    env=env,
    text=True,
    capture_output=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  *lines, told = done.stdout.splitlines()
  assert len(lines) == 4
  (file,) = workdir.glob('*/*.json')
  assert told == f'table: {file.parent / "table.md"}'
  table = (file.parent / 'table.md').read_text().splitlines()
  assert len(table) == 2 + 3 and topology in table[-1]
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
  found = compiled(tmp_path, 'show_o_256', 'v5e:4x4', **SMALL)
  assert found['mesh'] == {'data': 16, 'model': 1}
  # Kernels of TPUs are in the programs.
  assert found['attention'] == 'splash'
  assert [p['fits'] for p in found['programs']] == [True] * 3
  step = found['programs'][0]
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
  made = step_of(reference=reference, lora={'rank': 4})
  assert len(jax.tree.leaves(made.arguments[1])) == copies * len(
    jax.tree.leaves(whole.parts['parameters'])
  )
  assert ('reference' in made.parts) == (copies == 2)
  size = {
    name: verdicts.bytes_per_chip(tree) for name, tree in made.parts.items()
  }
  before = verdicts.bytes_per_chip(whole.parts['parameters'])
  assert size['parameters'] == before
  assert size['adapters'] < 0.1 * before
  assert size['optimizer'] == pytest.approx(2 * size['adapters'], rel=0.01)


@has_compiler
def test_a_step_of_adapters_wants_less_of_a_slice(tmp_path):
  whole, made = (
    compiled(tmp_path / name, 'show_o_256', 'v5e:4x4', **SMALL, **changes)
    for name, changes in (('whole', {}), ('lora', {'play.lora.rank': 4}))
  )
  (whole, *_), (made, *_) = whole['programs'], made['programs']
  # 10.6 and 12.6 MB; of this small model much is neither weights nor moments.
  assert made['fits'] and made['peak'] < 0.9 * whole['peak']
  assert made['flops'] < whole['flops']


@pytest.mark.parametrize(
  'topology, changes, mesh',
  [
    ('v5e:16x16', {}, (32, 8)),
    ('v6e:8x8', {}, (32, 2)),
    ('v5e:2x4', {}, (8, 1)),
    ('v5p:4x4x4', {'batch': 64}, (64, 1)),
    ('v5e:16x16', {'batch': 256}, (256, 1)),
  ],
)
def test_shipped_settings_choose_a_mesh_of_all_chips(
  topology, changes, mesh, tmp_path, monkeypatch
):
  """No compiler is asked: the mesh is known before."""
  config = configs.pair_dpo.get_config('show_o_512')
  del config.job
  config.play.update(changes)
  built = settings.build(pair_dpo.Settings, config.to_dict())
  seen = []

  def stop(where, data, model):
    seen.append((where.name, (data, model)))
    raise ValueError('no compiler here')

  monkeypatch.setattr(verdicts, 'slice_mesh', stop)
  with pytest.raises(ValueError, match='no compiler here'):
    compile_for.run(built, str(tmp_path), topology, terminal.silent())
  assert seen == [(topology, mesh)]
  explicit = dataclasses.replace(
    built, mesh=dataclasses.replace(built.mesh, data=-1, model=1)
  )
  chips_ = accelerators.parse_slice(topology).count
  if chips_ > built.play.batch:
    with pytest.raises(ValueError, match=f'must split over data={chips_}'):
      compile_for.run(explicit, str(tmp_path), topology, terminal.silent())


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
  found = compiled(tmp_path, variant, topology)
  assert found['mesh'] == {'data': data, 'model': model}
  assert [p['fits'] for p in found['programs']] == [True] * 3


def test_the_table_says_what_a_run_wants_of_a_slice():
  """The paper's: 5,000 inputs, 16 images and 10 captions each, 3 rounds."""
  config = configs.pair_dpo.get_config('show_o_512')
  del config.job
  built = settings.build(pair_dpo.Settings, config.to_dict())
  wanted = compile_for.expected_programs(built)
  assert wanted == {'pairs': 288_000, 'images': 240_000, 'captions': 150_000}
  program = verdicts.Verdict(
    'images, 50 steps',
    ('images', 1000),
    True,
    {},
    peak=2**30,
    flops=1e12,
    network={'all-gather': 2.0**30},
    seconds={'compute': 20.0, 'memory': 0.1, 'network': 3.0},
  )
  (row,) = verdicts.verdict_table(
    [
      {
        'topology': 'v5e:16x16',
        'mesh': {'data': 32, 'model': 8},
        'wanted': wanted,
        'programs': [dataclasses.asdict(program) | {'bound': program.bound}],
      }
    ]
  ).splitlines()[2:]
  assert row.endswith('| compute | 50 images/s | 80 min |')


@pytest.mark.parametrize(
  'seconds, said', [(17, '0.3 min'), (1320, '22 min'), (41_760, '11.6 h')]
)
def test_long_times_are_told_in_minutes_and_hours(seconds, said):
  assert verdicts.duration_text(seconds) == said


def test_a_run_without_sizes_is_not_compiled(tmp_path):
  config = configs.pair_dpo.get_config()
  del config.job
  built = settings.build(pair_dpo.Settings, config.to_dict())
  with pytest.raises(ValueError, match='needs config.sizes'):
    compile_for.run(built, str(tmp_path), 'v5e:4x4', terminal.silent())


def test_shards_of_arrays_count_on_a_chip():
  mesh = tiny.mesh(4, 2)
  tree = programs.rows_sharding({'a': np.zeros((8, 6), np.float32)}, mesh)
  assert verdicts.bytes_per_chip(tree) == 2 * 6 * 4


def test_the_gradient_of_the_head_is_added_up_once():
  """Over the devices, however many chunks its logits come in."""
  mesh, width, words = tiny.mesh(8, 1), 16, 96
  rows = jax.NamedSharding(mesh, P('data'))
  states = jax.ShapeDtypeStruct((8, 32, width), jnp.float32, sharding=rows)
  labels = jax.ShapeDtypeStruct((8, 32), jnp.int32, sharding=rows)
  head = nnx.eval_shape(lambda: nnx.Linear(width, words, rngs=nnx.Rngs(0)))
  head = jax.tree.map(
    lambda a: jax.ShapeDtypeStruct(
      a.shape, a.dtype, sharding=sharding.replicated(mesh)
    ),
    head,
  )

  def total(head, states, labels):
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
      model = types.SimpleNamespace(head=head)
      return chunked_log_likelihood.chunked_logps(
        model, states, labels, rows=4
      ).sum()

  text = (
    jax.jit(jax.grad(total)).lower(head, states, labels).compile().as_text()
  )
  found = hlo.network_traffic(text, 8)
  once = 2 * 4 * (width + 1) * words * 7 / 8
  assert found.network['all-reduce'] == pytest.approx(once, rel=0.01)
