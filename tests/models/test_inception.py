"""Inception agrees with a PyTorch statement, layer by layer."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_weights

from hermesflow_jax.models import abstract_modules
from hermesflow_jax.models import inception

# Not square, and with odd and even sides at the poolings.
PIXELS = np.random.default_rng(0).uniform(-1, 1, size=(2, 107, 91, 3))
PIXELS = PIXELS.astype(np.float32)


def test_every_layer_is_that_of_the_published_network():
  torch = pytest.importorskip('torch')
  import torch_inception

  state = torch_weights.arrays('inception')
  with torch.no_grad():
    expected = torch_inception.run(
      {name: torch.from_numpy(a) for name, a in state.items()},
      torch.from_numpy(PIXELS.transpose(0, 3, 1, 2)),
    )

  @jax.jit
  def compute(model, pixels):
    features, logits = model(pixels)
    return model.block_outputs(pixels), features, logits

  outputs, features, logits = compute(torch_weights.model('inception'), PIXELS)
  actual = {name: x.transpose(0, 3, 1, 2) for name, x in outputs.items()}
  actual |= {'pool3': features, 'logits': logits}
  assert len(actual) == len(expected) == 18
  for name, answer in expected.items():
    answer = answer.numpy()
    np.testing.assert_allclose(
      actual[name.lower()],
      answer,
      rtol=0,
      atol=1e-4 * np.abs(answer).max(),
      err_msg=name,
    )


def test_the_published_network_has_its_published_size():
  """torchvision states 27,161,264 parameters, 3,326,696 of them auxiliary."""
  model = abstract_modules.abstract_module(
    inception.Inception, inception.InceptionConfig()
  )
  count = lambda kind: sum(
    a.size for a in jax.tree.leaves(nnx.state(model, kind))
  )
  more_classes = (inception.CLASSES - 1000) * (inception.FEATURES + 1)
  assert count(nnx.Param) == 27_161_264 - 3_326_696 + more_classes
  shapes = jax.eval_shape(lambda m, x: m(x), model, jnp.zeros((2, 299, 299, 3)))
  assert [x.shape for x in shapes] == [(2, 2048), (2, 1008)]


@pytest.mark.parametrize(
  'shape', [(1, 74, 299, 3), (1, 3, 299, 299), (299, 299, 3)]
)
def test_images_of_another_shape_are_refused(shape):
  model = torch_weights.model('inception')
  with pytest.raises(ValueError, match='H and W at least 75'):
    model(jnp.zeros(shape))
