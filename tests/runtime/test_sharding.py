"""One mesh, one table of rules, nothing forgotten in either."""

import dataclasses
import re

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from hermesflow_jax.jobs.setup import mesh_config
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sequences import vocabulary

P = jax.sharding.PartitionSpec


def names_of(tree):
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {sharding.path_name(path): leaf for path, leaf in leaves}


@pytest.fixture(scope='module')
def model():
  """Shapes and names of the model."""
  return jax.eval_shape(tiny.show_o, jax.random.key(0))


@pytest.fixture(scope='module')
def official():
  """Shapes and names of Show-o at full size."""
  config = showo.ShowOConfig(vocabulary.Vocab(50_295, 8_192, 50_256))
  return jax.eval_shape(lambda: showo.ShowO(config, rngs=nnx.Rngs(0)))


def rule_of(name):
  return next(
    i
    for i, (pattern, _) in enumerate(sharding.RULES)
    if re.search(pattern, name)
  )


def test_every_rule_is_needed_and_every_large_array_has_one(model):
  hits = {name: rule_of(name) for name in names_of(model)}
  assert set(hits.values()) == set(range(len(sharding.RULES)))
  left = [name for name, i in hits.items() if i == len(sharding.RULES) - 1]
  small = r'(layernorm/(scale|bias)|(dense|fc2|head)/bias)$'
  assert all(re.search(small, name) for name in left), left


def test_rules_have_an_axis_for_each_dimension(model):
  for name, leaf in names_of(model).items():
    assert len(sharding.RULES[rule_of(name)][1]) <= leaf.ndim, name


def test_the_optimizer_lives_where_its_parameters_live(model):
  state = jax.eval_shape(optax.adamw(1e-3).init, model)
  mesh = tiny.mesh(2, 4)
  wanted = names_of(sharding.shardings(model, mesh))
  found = names_of(sharding.shardings(state, mesh))
  for name, spec in wanted.items():
    moments = [v for k, v in found.items() if k.endswith('/' + name)]
    assert moments == [spec, spec], name


@pytest.mark.parametrize('shape', [(4, 2), (2, 4), (8, 1), (1, 8)])
def test_show_o_is_split_evenly_over_every_mesh(official, shape):
  mesh = tiny.mesh(*shape)
  share = total = 0
  for name, leaf in names_of(official).items():
    spec = jax.sharding.NamedSharding(
      mesh, sharding.partition_spec(name, leaf.shape, mesh)
    )
    share += np.prod(spec.shard_shape(leaf.shape))
    total += leaf.size
  assert total > 1.3e9
  # Norms and some biases are whole everywhere.
  assert share < 1.01 * total / 8


def test_axes_that_do_not_divide_are_dropped():
  mesh = tiny.mesh(4, 2)
  spec = lambda *shape: sharding.partition_spec(
    'layers/fc1/kernel', shape, mesh
  )
  assert spec(3, 8, 8) == P(None, 'data', 'model')
  assert spec(3, 6, 8) == P(None, None, 'model')
  assert spec(3, 8, 7) == P(None, 'data')
  assert spec(3, 6, 7) == P()
  assert sharding.partition_spec('head/kernel', (8, 5), mesh) == P(
    ('data', 'model')
  )
  assert sharding.partition_spec('head/kernel', (4, 5), mesh) == P()


def test_scalars_and_strangers_are_whole_everywhere():
  mesh = tiny.mesh(4, 2)
  assert sharding.partition_spec('step', (), mesh) == P()
  assert (
    sharding.partition_spec('encoder/conv_in/kernel', (3, 3, 8, 8), mesh) == P()
  )


@pytest.mark.parametrize(
  'wanted, shape',
  [((-1, 1), (8, 1)), ((-1, 2), (4, 2)), ((2, 4), (2, 4)), ((1, 8), (1, 8))],
)
def test_a_mesh_takes_what_is_left(wanted, shape):
  mesh = sharding.make_mesh(*wanted)
  assert dict(mesh.shape) == dict(zip(('data', 'model'), shape))


@pytest.mark.parametrize(
  'wanted', [(3, 1), (-1, 3), (8, 2), (-1, 0), (0, 8), (-2, 4), (8, -1), (4, 1)]
)
def test_a_mesh_that_does_not_fit_is_refused(wanted):
  message = f'data={wanted[0]} model={wanted[1]} does not fit 8 device'
  with pytest.raises(ValueError, match=message):
    sharding.make_mesh(*wanted)


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
  'count, rows, parts, wanted',
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
def test_a_mesh_is_chosen_for_any_count_of_devices(count, rows, parts, wanted):
  assert sharding.best_mesh_shape(count, rows, parts) == wanted


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
  said = []
  mesh = mesh_config.MeshConfig().make(6, parts=1, say=said.append)
  assert said == [
    'mesh: 8 devices as data=6, model=1 (batch 6); 2 of the devices stay idle'
  ]
  assert dict(mesh.shape) == {'data': 6, 'model': 1}
  total = jax.jit(lambda a: a.sum())(sharding.put_batch(np.arange(12.0), mesh))
  assert total == 66
  mesh_config.MeshConfig(data=-1, model=1).make(8, say=said.append)
  assert len(said) == 1


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
  found = sharding.arrange_devices(devices, 16, 1)
  assert processes_of(found) == [[n // 4] for n in range(16)]
  assert sorted(d.id for d in found.ravel()) == list(range(16))
  # Rows of four chips of two hosts: each host has the same two rows.
  found = sharding.arrange_devices(devices, 4, 4)
  assert processes_of(found) == [
    [0, 0, 1, 1],
    [0, 0, 1, 1],
    [2, 2, 3, 3],
    [2, 2, 3, 3],
  ]
  # Rows of two hosts, in turn: sorted, each host has two that follow.
  found = sharding.arrange_devices(
    [Device(n, n // 2 % 2) for n in range(8)], 4, 2
  )
  assert processes_of(found) == [[0, 0], [0, 0], [1, 1], [1, 1]]


def test_devices_of_one_process_keep_their_order():
  devices = jax.devices()
  found = sharding.arrange_devices(devices, 4, 2)
  assert list(found.ravel()) == devices


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


def test_batches_are_split_over_data_alone():
  rows = {'a': np.arange(24.0).reshape(8, 3), 'b': np.arange(8) > 3}
  batch = sharding.put_batch(rows, tiny.mesh(4, 2))
  jax.tree.map(np.testing.assert_array_equal, batch, rows)
  assert batch['a'].sharding.spec == P('data')
  shards = {s.device.id: s.data for s in batch['a'].addressable_shards}
  np.testing.assert_array_equal(shards[0], rows['a'][:2])
  np.testing.assert_array_equal(shards[1], rows['a'][:2])
  np.testing.assert_array_equal(shards[7], rows['a'][6:])


def test_replicated_is_whole_everywhere():
  mesh = tiny.mesh(4, 2)
  array = jax.device_put(jnp.arange(8), sharding.replicated(mesh))
  assert array.is_fully_replicated
  assert len(array.addressable_shards) == 8


def test_the_residual_stream_is_split_only_where_a_mesh_is_set():
  def is_split(x):
    # A new function each time: traces are cached.
    jaxpr = jax.make_jaxpr(lambda x: sharding.constrain(x))(x)
    return 'sharding_constraint' in str(jaxpr)

  x = jnp.zeros((8, 4, 2))
  assert not is_split(x)
  with jax.set_mesh(tiny.mesh(8, 1)):
    assert is_split(x)
    assert not is_split(x[:3])
    assert not is_split(x[0])
