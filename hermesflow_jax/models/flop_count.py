"""Counts floating-point operations in functions and models.

XLA's own count includes a loop body only once. So this module counts matrix
products and convolutions in the traced function and multiplies each loop body
by its trip count.
"""

from collections.abc import Callable
import dataclasses
import math

import jax

from hermesflow_jax.models import phi


@dataclasses.dataclass(frozen=True)
class Cost:
  """Cost of all matrix products and convolutions.

  Attributes:
    flops: multiplications and additions.
    bytes: operand and result sizes, counted at each use. Actual memory
      traffic can be lower (caches) or higher (other operations).
  """

  flops: float = 0.0
  bytes: float = 0.0

  def __add__(self, other):
    return Cost(self.flops + other.flops, self.bytes + other.bytes)

  def __mul__(self, times):
    return Cost(self.flops * times, self.bytes * times)


def count_flops(function: Callable, *arguments, trips: int = 1) -> Cost:
  """Counts the cost of a function call.

  Args:
    function: maps arrays to arrays.
    *arguments: arrays or shapes.
    trips: assumed trip count per `while` loop.

  Returns:
    Total cost.
  """
  return _jaxpr_cost(jax.make_jaxpr(function)(*arguments).jaxpr, trips)


def _jaxpr_cost(jaxpr, trips) -> Cost:
  total = Cost()
  for equation in jaxpr.eqns:
    name, params = equation.primitive.name, equation.params
    if name == 'dot_general':
      total += _product(equation)
    elif name == 'conv_general_dilated':
      total += _convolution(equation)
    elif name == 'scan':
      total += _jaxpr_cost(params['jaxpr'].jaxpr, trips) * params['length']
    elif name == 'while':
      total += _jaxpr_cost(params['body_jaxpr'].jaxpr, trips) * trips
    elif name == 'cond':
      branches = [_jaxpr_cost(b.jaxpr, trips) for b in params['branches']]
      total += max(branches, key=lambda cost: cost.flops)
    elif name == 'shard_map':
      # The body computes a single shard.
      axes = params['newly_manual_axes']
      parts = math.prod(params['mesh'].shape[axis] for axis in axes)
      total += _jaxpr_cost(params['jaxpr'], trips) * parts
    elif name.startswith('dot_product_attention'):
      total += _attention(equation, 5 if '_bwd' in name else 2)
    elif name == 'pallas_call':
      programs = math.prod(params['grid_mapping'].grid)
      total += _jaxpr_cost(params['jaxpr'], trips) * programs
    else:
      for inner in _inner(tuple(params.values())):
        total += _jaxpr_cost(inner, trips)
  return total


def _inner(values):
  """Yields the jaxprs among the parameters of an operation."""
  for value in values:
    if isinstance(value, (list, tuple)):
      yield from _inner(value)
    elif hasattr(value, 'eqns'):
      yield value
    elif hasattr(getattr(value, 'jaxpr', None), 'eqns'):
      yield value.jaxpr


def _size(variable) -> int:
  return math.prod(variable.aval.shape) * variable.aval.dtype.itemsize


def _moved(equation) -> int:
  return sum(map(_size, [*equation.invars, *equation.outvars]))


def _product(equation):
  (contracted, _), _ = equation.params['dimension_numbers']
  left = equation.invars[0].aval.shape
  depth = math.prod(left[axis] for axis in contracted)
  out = math.prod(equation.outvars[0].aval.shape)
  return Cost(2.0 * out * depth, _moved(equation))


def _attention(equation, products):
  """Cost of cuDNN attention: products of T x S x H per row and head."""
  (rows, queries, heads, size), (_, keys, *_) = (
    v.aval.shape for v in equation.invars[:2]
  )
  return Cost(
    products * 2.0 * rows * heads * queries * keys * size, _moved(equation)
  )


def _convolution(equation):
  kernel = equation.invars[1].aval.shape
  outputs = equation.params['dimension_numbers'].rhs_spec[0]
  depth = math.prod(kernel) / kernel[outputs]
  out = math.prod(equation.outvars[0].aval.shape)
  return Cost(2.0 * out * depth, _moved(equation))


def decoder_flops(config: phi.PhiConfig, count: int, seen: float) -> float:
  """Returns the FLOPs of the decoder.

  Args:
    config: decoder sizes.
    count: token count.
    seen: mean visible keys per token.
  """
  d = config.width
  products = 4 * d * d + 2 * d * config.mlp
  attention = 2 * d * seen
  return 2.0 * config.layers * count * (products + attention)


def head_flops(config: phi.PhiConfig, rows: int, ids: int) -> float:
  """Returns the FLOPs of the output head.

  Args:
    config: decoder sizes.
    rows: token count.
    ids: vocabulary ids whose logits are computed.
  """
  return 2.0 * config.width * rows * ids


def weight_bytes(model, ids: int) -> int:
  """Returns the weight bytes that a forward pass must read.

  These are the decoder and the head; the few embedding rows do not count.

  Args:
    model: a ShowO.
    ids: vocabulary ids whose logits are computed.
  """
  decoder = sum(leaf.nbytes for leaf in jax.tree.leaves(model.decoder))
  kernel = model.head.kernel[...]
  return decoder + kernel.nbytes * ids // kernel.shape[-1]


def tree_bytes(tree) -> int:
  """Returns the total bytes in a pytree."""
  return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
