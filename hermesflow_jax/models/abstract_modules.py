"""Modules with shapes in place of arrays: what a checkpoint must hold."""

import functools

from flax import nnx
import jax


def abstract_module(kind: type[nnx.Module], config) -> nnx.Module:
  """Returns a module with `jax.ShapeDtypeStruct` in place of its arrays.

  Args:
    kind: module class with arguments (config, rngs).
    config: its sizes, hashable.

  Returns:
    A new module. The constructor of a class is traced once per config, as
    this takes up to half a second.
  """
  leaves, structure = _flat_module(kind, config)
  return jax.tree.unflatten(structure, leaves)


@functools.lru_cache(maxsize=16)
def _flat_module(kind, config):
  return jax.tree.flatten(
    nnx.eval_shape(lambda: kind(config, rngs=nnx.Rngs(0)))
  )
