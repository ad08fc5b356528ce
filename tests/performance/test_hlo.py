"""Traffic of collectives is read from the text of compiled programs."""

import functools
import types

from flax import nnx
import jax
import jax.numpy as jnp
import pytest
import tiny

from hermesflow_jax.performance.pods import hlo
from hermesflow_jax.runtime import sharding
from hermesflow_jax.training import chunked_log_likelihood

P = jax.sharding.PartitionSpec


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
  actual = hlo.network_traffic(TEXT, 8)
  matrix = 16 * 32 * 4
  assert actual.network == {
    'all-reduce': 5 * 2 * matrix * 7 / 8,
    'all-gather': 3 * 8 * 8 * 4,
  }
  assert actual.count == {'all-reduce': 5, 'all-gather': 1}


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
  actual = hlo.network_traffic(text, 8)
  part = (chips - 1) / chips
  assert actual.network['all-reduce'] == 3 * 2 * 16 * 32 * 4 * part


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
  actual = hlo.network_traffic(text, 8)
  expected = 5 * 2 * 16 * 32 * 4 * (shape[0] - 1) / shape[0]
  assert sum(actual.network.values()) == pytest.approx(expected)


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
        model, states, labels, chunk_size=4
      ).sum()

  text = (
    jax.jit(jax.grad(total)).lower(head, states, labels).compile().as_text()
  )
  actual = hlo.network_traffic(text, 8)
  once = 2 * 4 * (width + 1) * words * 7 / 8
  assert actual.network['all-reduce'] == pytest.approx(once, rel=0.01)
