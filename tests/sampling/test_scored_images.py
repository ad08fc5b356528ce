"""Images are decoded in blocks, and each in the same way in every block."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from hermesflow_jax.runtime import sharding
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import mesh_sampler
from hermesflow_jax.sampling import scored_images


@pytest.fixture
def calls(monkeypatch):
  """Batches of codes that were decoded, to images of the grey of their code."""
  batches = []

  def decode(tokenizer, codes, grid):
    batches.append(np.asarray(codes)[:, 0].tolist())
    return jnp.repeat(codes[:, :1], 3, -1).astype(jnp.uint8)[:, None, None]

  monkeypatch.setattr(batched, 'decode_batch', decode)
  return batches


@pytest.fixture
def unified():
  mesh = sharding.make_mesh(data=2, idle=True)
  progress = lambda label: lambda items: items
  return types.SimpleNamespace(
    tokenizer=None,
    grid=(1, 1),
    sampler=mesh_sampler.MeshSampler(None, mesh, 16, progress),
  )


@pytest.mark.parametrize('most, size', [(4, 4), (3, 4), (None, 16), (99, 16)])
def test_the_number_of_images_does_not_decide_how_they_are_decoded(
  unified, calls, most, size
):
  for count in (1, 3, 4):
    codes = np.arange(count, dtype=np.int32)[:, None]
    images = scored_images.decode(unified, codes, most)
    assert images.shape == (count, 1, 1, 3)
  assert {len(batch) for batch in calls} == {size}


def test_no_more_images_are_held_than_a_block(unified, calls, monkeypatch):
  monkeypatch.setattr(scored_images, 'BLOCK', 4)
  codes = np.array([9, 9, 9, 9, 9, 2, 2, 7, 5, 5, 9, 3], np.int32)[:, None]
  images = scored_images.ScoredImages(unified, [''] * len(codes), codes)
  order = []
  for captions, pixels in images.pixel_blocks():
    assert len(captions) == len(pixels) <= 4
    np.testing.assert_array_equal(pixels[:, 0, 0, 0], codes[captions, 0])
    order += captions.tolist()
  assert sorted(order) == list(range(len(codes)))
  # Each image once, as its first caption comes.
  assert [list(dict.fromkeys(batch)) for batch in calls] == [[9, 2, 7, 5], [3]]
