"""Counts the arithmetic of a function: what is executed, and what is useful.

The compiler's own count takes the body of a loop once, whatever its trips; so
products are counted in the traced function, loops with their lengths.
"""

from collections.abc import Callable
import dataclasses
import math

import jax

from hermesflow_jax.models import phi


@dataclasses.dataclass(frozen=True)
class Cost:
  """Work of matrix products and convolutions.

  Attributes:
    flops: multiplications and additions.
    bytes: of their operands and results, each time they are used. Caches keep
      some of that from memory, other operations add to it.
  """

  flops: float = 0.0
  bytes: float = 0.0

  def __add__(self, other):
    return Cost(self.flops + other.flops, self.bytes + other.bytes)

  def __mul__(self, times):
    return Cost(self.flops * times, self.bytes * times)


def count_flops(function: Callable, *arguments, trips: int = 1) -> Cost:
  """Returns what a call executes.

  Args:
    function: of arrays.
    *arguments: arrays or their shapes.
    trips: of each `while` loop, which does not say how often it turns.
  """
  return _of(jax.make_jaxpr(function)(*arguments).jaxpr, trips)


def _of(jaxpr, trips) -> Cost:
  total = Cost()
  for equation in jaxpr.eqns:
    name, params = equation.primitive.name, equation.params
    if name == 'dot_general':
      total += _product(equation)
    elif name == 'conv_general_dilated':
      total += _convolution(equation)
    elif name == 'scan':
      total += _of(params['jaxpr'].jaxpr, trips) * params['length']
    elif name == 'while':
      total += _of(params['body_jaxpr'].jaxpr, trips) * trips
    elif name == 'cond':
      branches = [_of(b.jaxpr, trips) for b in params['branches']]
      total += max(branches, key=lambda cost: cost.flops)
    elif name == 'shard_map':
      # Written for one part of the mesh.
      axes = params['newly_manual_axes']
      parts = math.prod(params['mesh'].shape[axis] for axis in axes)
      total += _of(params['jaxpr'], trips) * parts
    elif name.startswith('dot_product_attention'):
      total += _attention(equation, 5 if '_bwd' in name else 2)
    elif name == 'pallas_call':
      turns = math.prod(params['grid_mapping'].grid)
      total += _of(params['jaxpr'], trips) * turns
    else:
      for inner in _inner(tuple(params.values())):
        total += _of(inner, trips)
  return total


def _inner(values):
  """Yields the functions among the parameters of an operation."""
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
  """cuDNN's, of q [B, T, N, H] and k [B, S, N, H]: products of T x S x H."""
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
  """Returns the FLOPs of the decoder for some tokens.

  Args:
    config: of the decoder.
    count: tokens.
    seen: keys that a token sees, on average.
  """
  d = config.width
  products = 4 * d * d + 2 * d * config.mlp
  attention = 2 * d * seen
  return 2.0 * config.layers * count * (products + attention)


def head_flops(config: phi.PhiConfig, rows: int, ids: int) -> float:
  """Returns the FLOPs of the logits of `ids` words at `rows` tokens."""
  return 2.0 * config.width * rows * ids


def weight_bytes(model, ids: int) -> int:
  """Returns the bytes of a ShowO's decoder, and of its head for `ids` words.

  What one pass reads at least; of the embeddings it reads a few rows.
  """
  decoder = sum(leaf.nbytes for leaf in jax.tree.leaves(model.decoder))
  kernel = model.head.kernel[...]
  return decoder + kernel.nbytes * ids // kernel.shape[-1]


def tree_bytes(tree) -> int:
  """Returns the bytes of a tree of arrays."""
  return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
