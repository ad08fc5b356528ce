"""Prepares the weights of a trained model for sampling.

Sampling reads all weights at each token or step and changes none. So weights
are cast to the precision in which they are used, replicated over the mesh axis
`data` and, where this is faster, fused to fewer and larger products.
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
  """Returns a model for sampling; unchanged arrays are not copied.

  Args:
    model: trained model.
    mesh: device mesh.
    fused: whether to fuse the six products of each block to two, which changes
      the rounding of sums. None: only on GPUs without a split over `model`.
      On CPUs fused products are not faster: they take as long for a single
      row and 3% longer for a thousand rows (four layers of width 2,048,
      float32, two cores).
  """
  if fused is None:
    fused = jax.default_backend() == 'gpu' and mesh.shape['model'] == 1
  model = cast_weights(nnx.merge(*nnx.split(model)))
  if fused:
    model.decoder.layers = FusedBlock(model.decoder.layers)
  placed = sharding.shardings(model, mesh, over=('model',))
  return jax.device_put(model, placed)


def cast_weights(model: showo.ShowO) -> showo.ShowO:
  """Casts the parameters to the precision in which they are used."""
  dtype = model.config.decoder.dtype

  def cast(path, leaf):
    # LayerNorms and the addition of the head's bias stay in float32.
    name = sharding.path_name(path)
    if 'layernorm' in name or name == 'head/bias':
      return leaf
    return leaf.astype(dtype)

  return jax.tree_util.tree_map_with_path(cast, model)


class FusedBlock(phi.Block):
  """Block with two matrix products instead of six, for sampling.

  Attributes:
    enter_kernel: [..., D, 3 D + F], kernels of q_proj, k_proj, v_proj and fc1.
    enter_bias: [..., 3 D + F], their biases.
    leave_kernel: [..., D + F, D], kernels of dense and fc2.
    leave_bias: [..., D], the sum of their biases.
  """

  def __init__(self, block: phi.Block):  # pylint: disable=super-init-not-called
    self.config = block.config
    self.input_layernorm = block.input_layernorm
    self.q_layernorm, self.k_layernorm = block.q_layernorm, block.k_layernorm
    enter = block.q_proj, block.k_proj, block.v_proj, block.fc1

    def concatenate(leaves, axis):
      return nnx.Param(jnp.concatenate([a[...] for a in leaves], axis))

    self.enter_kernel = concatenate([a.kernel for a in enter], -1)
    self.enter_bias = concatenate([a.bias for a in enter], -1)
    self.leave_kernel = concatenate([block.dense.kernel, block.fc2.kernel], -2)
    self.leave_bias = nnx.Param(block.dense.bias[...] + block.fc2.bias[...])

  def _enter(self, y, places=None):
    c = self.config
    out = y @ self.enter_kernel.astype(c.dtype)
    out += self.enter_bias.astype(c.dtype)
    q, k, v, mlp = jnp.split(out, np.arange(1, 4) * c.width, axis=-1)
    if places is not None:
      q, mlp = (jnp.take(a, places, axis=a.ndim - 2) for a in (q, mlp))
    return q, k, v, mlp

  def _leave(self, attended, mlp):
    dtype = self.config.dtype
    both = jnp.concatenate([attended, mlp], axis=-1)
    return both @ self.leave_kernel.astype(dtype) + self.leave_bias.astype(
      dtype
    )
