"""A model as samplers want it: ready to be read again and again.

Sampling reads all weights for each token or step, and changes none. So they
are kept in the precision that they are used in, whole on each device of the
`data` axis, and, where that pays, with fewer and larger products.
"""

from flax import nnx
import jax

from hermesflow_jax import sharding
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo


def ready(
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
  model = cast(nnx.merge(*nnx.split(model)))
  if fused:
    model.decoder.layers = phi.FusedBlock(model.decoder.layers)
  placed = sharding.shardings(model, mesh, over=('model',))
  return jax.device_put(model, placed)


def cast(model: showo.ShowO) -> showo.ShowO:
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
