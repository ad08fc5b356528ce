"""Slices have names and chips, and settings choose a mesh for them."""

import dataclasses

import numpy as np
import pytest
import tiny

import configs.pair_dpo
from hermesflow_jax.jobs import compile_for
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.performance.pods import programs
from hermesflow_jax.performance.pods import verdict_report
from hermesflow_jax.performance.pods import verdicts
from hermesflow_jax.runtime import accelerators
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal


def test_a_slice_has_the_chips_of_its_shape():
  actual = accelerators.parse_slice('v5p:4x4x8')
  assert (actual.count, actual.name) == (128, 'v5p:4x4x8')
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


def test_the_table_says_what_a_run_wants_of_a_slice():
  """The paper's: 5,000 inputs, 16 images and 10 captions each, 3 rounds."""
  config = configs.pair_dpo.get_config('show_o_512')
  del config.job
  built = settings.build(pair_dpo.Settings, config.to_dict())
  expected = compile_for.expected_programs(built)
  assert expected == {
    'pairs': 288_000,
    'images': 240_000,
    'captions': 150_000,
    # Five questions about an image, if they score it.
    'answers': 1_200_000,
    'likelihoods': 240_000,
  }
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
  (row,) = verdict_report.verdict_table(
    [
      {
        'topology': 'v5e:16x16',
        'mesh': {'data': 32, 'model': 8},
        'wanted': expected,
        'programs': [dataclasses.asdict(program) | {'bound': program.bound}],
      }
    ]
  ).splitlines()[2:]
  assert row.endswith('| compute | 50 images/s | 80 min |')


@pytest.mark.parametrize(
  'seconds, output', [(17, '0.3 min'), (1320, '22 min'), (41_760, '11.6 h')]
)
def test_long_times_are_told_in_minutes_and_hours(seconds, output):
  assert verdict_report.duration_text(seconds) == output


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
