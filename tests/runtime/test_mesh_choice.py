"""Meshes for any number of devices and any batch."""

import dataclasses

import jax
import numpy as np
import pytest

from hermesflow_jax.jobs.setup import mesh_config
from hermesflow_jax.models import phi
from hermesflow_jax.runtime import sharding

P = jax.sharding.PartitionSpec


@pytest.mark.parametrize(
  'sizes, shape',
  [((-1, 1), (8, 1)), ((-1, 2), (4, 2)), ((2, 4), (2, 4)), ((1, 8), (1, 8))],
)
def test_a_mesh_takes_what_is_left(sizes, shape):
  mesh = sharding.make_mesh(*sizes)
  assert dict(mesh.shape) == dict(zip(('data', 'model'), shape))


@pytest.mark.parametrize(
  'sizes', [(3, 1), (-1, 3), (8, 2), (-1, 0), (0, 8), (-2, 4), (8, -1), (4, 1)]
)
def test_a_mesh_that_does_not_fit_is_refused(sizes):
  message = f'data={sizes[0]} model={sizes[1]} does not fit 8 device'
  with pytest.raises(ValueError, match=message):
    sharding.make_mesh(*sizes)


COUNTS = (*range(1, 17), 32, 256)


@pytest.mark.parametrize('rows', [4, 16, 32])
@pytest.mark.parametrize('parts', [1, 2, 32])
def test_a_chosen_mesh_uses_most_devices_and_then_most_data(rows, parts):
  for count in COUNTS:
    data, model = sharding.best_mesh_shape(count, rows, parts)
    assert (rows % data, parts % model) == (0, 0)
    assert data * model <= count
    for other in range(1, rows + 1):
      for many in range(1, parts + 1):
        fits = not (rows % other or parts % many) and other * many <= count
        assert not fits or (data * model, data) >= (other * many, other)


@pytest.mark.parametrize(
  'count, rows, parts, expected',
  [
    # What the embedded job had before, on any machine that main.py makes.
    (1, 16, 2, (1, 1)),
    (2, 16, 2, (2, 1)),
    (4, 16, 2, (4, 1)),
    (8, 16, 2, (8, 1)),
    # The paper's batch and Show-o's 32 heads on slices and nodes.
    (256, 32, 32, (32, 8)),
    (64, 32, 32, (32, 2)),
    (16, 32, 32, (16, 1)),
    (256, 4, 32, (4, 32)),
    (16, 4, 32, (4, 4)),
    (12, 24, 32, (12, 1)),
    # 256 devices in the batch of accumulated parts.
    (256, 8, 32, (8, 32)),
    # No mesh of all devices: most of them.
    (3, 16, 2, (2, 1)),
    (5, 16, 2, (4, 1)),
    (6, 16, 32, (4, 1)),
    (7, 4, 32, (4, 1)),
    (8, 6, 2, (6, 1)),
    (8, 6, 4, (2, 4)),
    # A model that nothing splits, and a job without a batch.
    (256, 16, 1, (16, 1)),
    (7, 0, 2, (7, 1)),
  ],
)
def test_a_mesh_is_chosen_for_any_count_of_devices(
  count, rows, parts, expected
):
  assert sharding.best_mesh_shape(count, rows, parts) == expected


def chosen(devices, batch, accumulate=1, parts=2, idle=True, **mesh):
  """The sizes of a mesh, or the line that refuses it."""
  try:
    return mesh_config.MeshConfig(**mesh).sizes(
      devices, batch, accumulate, parts, idle
    )
  except ValueError as error:
    return str(error)


def test_what_is_accumulated_splits_part_by_part():
  assert chosen(8, 16, accumulate=4) == (4, 2)
  assert chosen(256, 32, accumulate=2, parts=32) == (16, 16)


def test_values_by_hand_keep_their_meaning():
  assert chosen(8, 16, data=-1, model=1) == (8, 1)
  assert chosen(8, 16, data=-1, model=4) == (2, 4)
  assert chosen(8, 16, data=2, model=-1) == (2, 4)
  assert chosen(8, 0, data=1, model=8) == (1, 8)


def test_values_that_do_not_fit_are_refused_with_those_that_do():
  line = chosen(8, 12, data=-1, model=1)
  assert line == (
    'batch must split over data=8, got 12: give a batch that is a multiple '
    'of 8, or a mesh of data=4 model=2 or -1 for both'
  )
  line = chosen(8, 16, data=3, model=1)
  assert 'got data=3 model=1: give data=8 model=1, data=4 model=2 or' in line
  for values in ((0, -1), (-1, 0), (-2, -1), (16, -1), (4, 1), (-1, 3)):
    line = chosen(8, 16, data=values[0], model=values[1])
    assert f'got data={values[0]} model={values[1]}: give' in line


def test_several_processes_leave_no_device_idle():
  """A process without a device in the mesh would hang the others."""
  assert chosen(24, 32, parts=32) == (16, 1)
  line = chosen(24, 32, parts=32, idle=False)
  assert line == (
    'batch must split over all 24 devices with model=1, 2, 4, 8 or 16, got '
    '32: give a batch of 24 or 48'
  )
  for batch in (24, 48):
    data, model = chosen(24, batch, parts=32, idle=False)
    assert data * model == 24
  assert chosen(24, 32, 2, parts=32, idle=False).endswith('batch of 30 or 36')


def test_devices_that_stay_idle_are_said():
  lines = []
  mesh = mesh_config.MeshConfig().make(6, parts=1, say=lines.append)
  assert lines == [
    'mesh: 8 devices as data=6, model=1 (batch 6); 2 of the devices stay idle'
  ]
  assert dict(mesh.shape) == {'data': 6, 'model': 1}
  total = jax.jit(lambda a: a.sum())(sharding.put_batch(np.arange(12.0), mesh))
  assert total == 66
  mesh_config.MeshConfig(data=-1, model=1).make(8, say=lines.append)
  assert len(lines) == 1


@dataclasses.dataclass(frozen=True)
class Device:
  """What a mesh asks of a device of another machine."""

  id: int
  process_index: int
  platform: str = 'cpu'
  device_kind: str = 'cpu'


def processes_of(grid):
  return [[device.process_index for device in row] for row in grid]


def test_devices_are_in_the_order_of_their_processes():
  """Hosts of 2x2 chips on a slice of 4x4 alternate along its rows."""
  hosts = [0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3]
  devices = [Device(n, host) for n, host in enumerate(hosts)]
  result = sharding.arrange_devices(devices, 16, 1)
  assert processes_of(result) == [[n // 4] for n in range(16)]
  assert sorted(d.id for d in result.ravel()) == list(range(16))
  # Rows of four chips of two hosts: each host has the same two rows.
  result = sharding.arrange_devices(devices, 4, 4)
  assert processes_of(result) == [
    [0, 0, 1, 1],
    [0, 0, 1, 1],
    [2, 2, 3, 3],
    [2, 2, 3, 3],
  ]
  # Rows of two hosts, in turn: sorted, each host has two that follow.
  result = sharding.arrange_devices(
    [Device(n, n // 2 % 2) for n in range(8)], 4, 2
  )
  assert processes_of(result) == [[0, 0], [0, 0], [1, 1], [1, 1]]


def test_devices_of_one_process_keep_their_order():
  devices = jax.devices()
  result = sharding.arrange_devices(devices, 4, 2)
  assert list(result.ravel()) == devices


def test_heads_say_how_far_a_model_splits():
  """58,498 words and odd widths do not count: no rule splits them."""
  assert (
    mesh_config.model_divisor(
      phi.PhiConfig(width=2048, layers=24, heads=32, mlp=8192)
    )
    == 32
  )
  assert (
    mesh_config.model_divisor(
      phi.PhiConfig(width=96, layers=1, heads=6, mlp=128)
    )
    == 2
  )
  assert mesh_config.model_divisor(None) == 1
