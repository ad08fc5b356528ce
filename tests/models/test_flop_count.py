"""FLOPs of products, loops, meshes, kernels and convolutions are counted."""

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.models import attention_kernels
from hermesflow_jax.models import flop_count
from hermesflow_jax.runtime import sharding


def test_a_product_counts_its_multiplications_and_additions():
  a, b = jnp.ones((3, 5)), jnp.ones((5, 7))
  actual = flop_count.count_flops(lambda a, b: a @ b, a, b)
  assert actual == flop_count.Cost(2 * 3 * 5 * 7, 4 * (15 + 35 + 21))


def test_batched_products_and_inner_functions_count():
  inner = jax.jit(jax.checkpoint(lambda a: jnp.einsum('bij,bjk->bik', a, a)))
  actual = flop_count.count_flops(inner, jnp.ones((4, 3, 3)))
  assert actual.flops == 2 * 4 * 27


def test_loops_count_by_their_length():
  def looped(a):
    return jax.lax.scan(lambda c, _: (c @ c, None), a, None, length=6)[0]

  def turned(a):
    return jax.lax.while_loop(lambda c: c[0, 0] < 3, lambda c: c @ c, a)

  square = jnp.ones((4, 4))
  assert flop_count.count_flops(looped, square).flops == 6 * 128
  assert flop_count.count_flops(turned, square, trips=5).flops == 5 * 128


def test_what_each_part_of_a_mesh_computes_is_counted_for_all():
  a, b = jnp.ones((8, 4)), jnp.ones((4, 3))
  mesh = sharding.make_mesh(4, 2)

  def split(a, b):
    with sharding.use_mesh(mesh):
      return sharding.map_over_data(lambda b, a: a @ b, b, a)

  assert flop_count.count_flops(split, a, b).flops == 2 * 8 * 4 * 3


def test_what_a_kernel_computes_is_counted_for_all_its_blocks():
  """Forward, of one block: two products of 128 x 128 keys, for each head."""
  q = jnp.ones((3, 128, 2, 64))
  actual = flop_count.count_flops(
    lambda q: attention_kernels.splash(q, [(q, q)], [None]), q
  )
  assert actual.flops == 3 * 2 * 2 * (2 * 128 * 128 * 64)
  q = jnp.ones((3, 1100, 2, 64))
  actual = flop_count.count_flops(
    lambda q: attention_kernels.splash(q, [(q, q)], [None]), q
  )
  assert actual.flops == 3 * 2 * 2 * (2 * 1152 * 1152 * 64)


def test_a_convolution_counts_as_the_compiler_says():
  def convolved(x, kernel):
    return jax.lax.conv_general_dilated(
      x, kernel, (1, 1), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )

  arguments = jnp.ones((2, 9, 9, 3)), jnp.ones((3, 3, 3, 8))
  compiled = jax.jit(convolved).lower(*arguments).compile()
  expected = compiled.cost_analysis()['flops']
  np.testing.assert_allclose(
    flop_count.count_flops(convolved, *arguments).flops, expected
  )
