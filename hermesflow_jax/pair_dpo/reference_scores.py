"""Log-likelihoods under the reference model, computed once a round."""

from collections.abc import Callable
from collections.abc import Sequence
import functools
import zlib

import jax
import numpy as np

from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sequences import mask_schedules


def score_reference(
  reference,
  records: Sequence[dict],
  make: Callable,
  *,
  objective: objective_config.ObjectiveConfig,
  schedule: mask_schedules.Schedule,
  image_tokens: int,
  seed: int,
  chunk: int,
  rows: int,
  mesh,
) -> list[dict]:
  """Scores records once, before training, where that is exact.

  Args:
    reference: the frozen model.
    records: see `transform`.
    make: (record, whether the condition is dropped) -> arrays, of `transform`.
    objective: says whether masks are fixed.
    schedule: of the masks.
    image_tokens: I.
    seed: of the masks.
    chunk: records at once; the mesh's `data` axis divides it.
    rows: see `packing.pair_logps`.
    mesh: from `sharding.make_mesh`.

  Returns:
    The records with `reference_mmu` float32[2]; with fixed masks also `hidden`
    bool[K, I] and `reference_t2i` float32[2, 2], given the caption and given
    none (the same where the condition is never dropped).
  """

  def scored(dropped, hidden, replies):
    packed = batching.stack([make(r, dropped)['packed'] for r in records])
    return batching.map_batches(
      lambda batch: _score(
        reference, *batch, rows=rows, replies=replies, mesh=mesh
      ),
      (packed, hidden),
      chunk,
      mesh,
    )

  if not objective.fixed_masks:
    found = scored(False, None, True)
    return [r | {'reference_mmu': m} for r, m in zip(records, found.mmu)]

  @jax.jit
  def draw(names):
    def one(name):
      key = jax.random.fold_in(jax.random.key(seed), name)
      keys = jax.random.split(key, objective.masks)
      return jax.vmap(
        lambda k: mask_schedules.draw_mask(k, image_tokens, schedule)
      )(keys)

    return jax.vmap(one)(names)

  names = [zlib.crc32(r['id'].encode()) for r in records]
  hidden = np.asarray(draw(np.array(names, np.uint32)))
  found = scored(False, hidden, True)
  empty = scored(True, hidden, False) if objective.drop_condition else found
  return [
    r | {'reference_mmu': m, 'hidden': h, 'reference_t2i': np.stack([a, b])}
    for r, m, h, a, b in zip(records, found.mmu, hidden, found.t2i, empty.t2i)
  ]


@functools.partial(jax.jit, static_argnames=('rows', 'replies', 'mesh'))
def _score(reference, batch, hidden, *, rows, replies, mesh):
  with sharding.use_mesh(mesh):
    return packing.pair_logps(reference, batch, hidden, rows, replies)[0]
