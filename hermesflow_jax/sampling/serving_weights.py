"""A model as samplers want it: ready to be read again and again.

Sampling reads all weights for each token or step, and changes none. So they
are kept in the precision that they are used in, whole on each device of the
`data` axis, and, where that pays, with fewer and larger products.
"""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.runtime import sharding


def prepare_for_serving(
  model: showo.ShowO, mesh: jax.sharding.Mesh, fused: bool | None = None
) -> showo.ShowO:
  """Returns a model for sampling; what needs no change is not copied.

  Args:
    model: as it is trained.
    mesh: from `sharding.make_mesh`.
    fused: whether each block's six products become two. Their sums are
      rounded otherwise. None: on GPUs, unless they are split over `model`. On
      CPUs it does not pay: with one row the two take as long, with a thousand
      3% longer (four layers of width 2,048, float32, two cores).
  """
  if fused is None:
    fused = jax.default_backend() == 'gpu' and mesh.shape['model'] == 1
  model = cast_weights(nnx.merge(*nnx.split(model)))
  if fused:
    model.decoder.layers = FusedBlock(model.decoder.layers)
  placed = sharding.shardings(model, mesh, over=('model',))
  return jax.device_put(model, placed)


def cast_weights(model: showo.ShowO) -> showo.ShowO:
  """Returns a model with parameters of the precision they are used in."""
  dtype = model.config.decoder.dtype

  def one(path, leaf):
    # A LayerNorm computes in float32 whatever the rest does, and so is the bias
    # of the head added.
    name = sharding.path_name(path)
    if 'layernorm' in name or name == 'head/bias':
      return leaf
    return leaf.astype(dtype)

  return jax.tree_util.tree_map_with_path(one, model)


class FusedBlock(phi.Block):
  """A block with two products in place of six, for sampling.

  Attributes:
    enter_kernel: [..., D, 3 D + F], those of queries, keys, values and fc1.
    leave_kernel: [..., D + F, D], those of dense and fc2.
  """

  def __init__(self, block: phi.Block):  # pylint: disable=super-init-not-called
    self.config = block.config
    self.input_layernorm = block.input_layernorm
    self.q_layernorm, self.k_layernorm = block.q_layernorm, block.k_layernorm
    enter = block.q_proj, block.k_proj, block.v_proj, block.fc1

    def joined(leaves, axis):
      return nnx.Param(jnp.concatenate([a[...] for a in leaves], axis))

    self.enter_kernel = joined([a.kernel for a in enter], -1)
    self.enter_bias = joined([a.bias for a in enter], -1)
    self.leave_kernel = joined([block.dense.kernel, block.fc2.kernel], -2)
    self.leave_bias = nnx.Param(block.dense.bias[...] + block.fc2.bias[...])

  def _enter(self, y):
    c = self.config
    out = y @ self.enter_kernel.astype(c.dtype)
    out += self.enter_bias.astype(c.dtype)
    return jnp.split(out, np.arange(1, 4) * c.width, axis=-1)

  def _leave(self, attended, hidden):
    dtype = self.config.dtype
    both = jnp.concatenate([attended, hidden], axis=-1)
    return both @ self.leave_kernel.astype(dtype) + self.leave_bias.astype(
      dtype
    )
