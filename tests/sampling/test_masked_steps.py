"""Steps compute few logits of known codes, and draw the same images."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import tiny

from hermesflow_jax.models import showo
from hermesflow_jax.sampling import masked_steps
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_to_image

STEPS = 8
COUNTS = mask_schedules.schedule_counts(
  STEPS, tiny.IMAGE_TOKENS, mask_schedules.cosine
)


@functools.partial(jax.jit, static_argnums=(1, 2))
def image(leaves, sizes, counts, traced_counts, known):
  """An image for a caption, with the counts as a constant or traced."""
  structure = jax.tree.structure(
    jax.eval_shape(lambda: showo.ShowO(sizes, rngs=nnx.Rngs(0)))
  )
  model = jax.tree.unflatten(structure, leaves)
  captions = tiny.text().encode(['two blue square'])
  rows = text_to_image.t2i_prefix(tiny.vocab(), captions, 6)
  return maskgit.sample_image(
    model,
    jax.random.key(1),
    [jax.tree.map(lambda a: a[0], rows)],
    jnp.arange(tiny.IMAGE_TOKENS),
    known,
    maskgit.MaskGITSampler(STEPS, 0.0),
    traced_counts if counts is None else counts,
  )


def test_logits_that_are_left_out_change_no_image():
  """Neither in a loop over layers nor without, nor with known codes."""
  leaves = jax.tree.leaves(tiny.show_o(jax.random.key(3)))
  known = np.array([False, True, False, False])
  expected = image(leaves, tiny.sizes(), None, COUNTS, known)
  actual = image(
    leaves, tiny.sizes(unroll=2), tuple(COUNTS.tolist()), None, known
  )
  jax.tree.map(np.testing.assert_array_equal, actual, expected)


def test_steps_have_few_kinds_of_work():
  guided = (True,) * 5 + (False,) * 3
  work = masked_steps.work_of_steps(COUNTS, tiny.IMAGE_TOKENS, 0, guided)
  most = masked_steps.most_masked(COUNTS, tiny.IMAGE_TOKENS)
  assert most[:4] == [4, 3, 2, 1]
  assert tuple(is_guided for is_guided, _ in work) == guided
  assert all(computed >= n for (_, computed), n in zip(work, most))
  assert len(set(work[1:])) == 3
