"""Log-likelihoods under the reference model, computed once per round."""

from collections.abc import Callable
from collections.abc import Sequence
import functools
import zlib

import jax
import numpy as np

from hermesflow_jax.data import lazy_images
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import pair_log_likelihood
from hermesflow_jax.pair_dpo import real_images
from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sequences import mask_schedules

# Records whose masks a call draws.
_MASKED = 1_024


def score_reference(
  reference,
  records: Sequence[dict],
  make_row: Callable,
  *,
  objective: objective_config.ObjectiveConfig,
  schedule: mask_schedules.Schedule,
  image_tokens: int,
  seed: int,
  batch_size: int,
  chunk_size: int,
  mesh,
  images: lazy_images.LazyImages | None = None,
  tower=None,
  score_batch: Callable | None = None,
) -> Sequence[dict]:
  """Scores records under the reference once, before training.

  Captions are always scored. Images are scored only with fixed masks: with new
  masks in each step the reference must score them in each step.

  Args:
    reference: frozen ShowO.
    records: homologous records, see `record_rows.make_transform`.
    make_row: (record, whether to drop the condition) -> row from
      `record_rows.make_transform`.
    objective: J, number of masks per pair, and whether they are fixed.
    schedule: mask schedule.
    image_tokens: I, codes per image.
    seed: seed for the masks.
    batch_size: records per batch; the mesh's `data` axis must divide it.
    chunk_size: see `pair_log_likelihood.pair_logps`.
    mesh: device mesh.
    images: real images of the records, for a model that reads CLIP features.
    tower: their `clip.Clip`, or None.
    score_batch: takes the place of the models, in measurements of the host; see
      `_score`.

  Returns:
    The records with `reference_mmu` float32[2]; with fixed masks also `masked`
    bool[J, I] and `reference_t2i` float32[2, 2], with the caption and without
    it (both the same if the condition is never dropped).
  """

  def score(dropped, masked, replies):
    def build(index):
      rows = [make_row(records[n], dropped)['packed'] for n in index]
      return batching.stack(rows)

    packed = batching.BuiltRows(len(records), build, divided=True)
    return batching.map_batches(
      lambda batch: (score_batch or _score)(
        reference,
        tower,
        *batch,
        chunk_size=chunk_size,
        replies=replies,
        mesh=mesh,
      ),
      (packed, masked, images if replies else None),
      batch_size,
      mesh,
    )

  if not objective.fixed_masks:
    logps = score(False, None, True)
    return disk_objects.Computed(
      len(records), lambda n: records[n] | {'reference_mmu': logps.mmu[n]}
    )

  masked = masks_of_records(
    disk_objects.Computed(len(records), lambda n: records[n]['id']),
    seed,
    masks=objective.masks,
    schedule=schedule,
    image_tokens=image_tokens,
  )
  logps = score(False, masked, True)
  empty = score(True, masked, False) if objective.drop_condition else logps

  def with_scores(n):
    return records[n] | {
      'reference_mmu': logps.mmu[n],
      'masked': masked[n],
      'reference_t2i': np.stack([logps.t2i[n], empty.t2i[n]]),
    }

  return disk_objects.Computed(len(records), with_scores)


def masks_of_records(
  ids: Sequence[str],
  seed: int,
  *,
  masks: int,
  schedule: mask_schedules.Schedule,
  image_tokens: int,
) -> np.ndarray:
  """Returns fixed masks, which depend on a record's id and the seed.

  Args:
    ids: N record ids.
    seed: seed for the masks.
    masks: J, masks per record.
    schedule: mask schedule.
    image_tokens: I, codes per image.

  Returns:
    bool[N, J, I]; a large array lies in a file, see `disk_arrays`.
  """
  hashes = disk_arrays.empty((len(ids),), np.uint32)
  for n, name in enumerate(ids):
    hashes[n] = zlib.crc32(name.encode())
  masked = disk_arrays.empty((len(hashes), masks, image_tokens), bool)
  size = max(1, min(_MASKED, len(hashes)))
  for index, real in batching.index_chunks(len(hashes), size):
    drawn = _draw_masks(
      jax.random.key(seed),
      hashes[index],
      masks=masks,
      schedule=schedule,
      image_tokens=image_tokens,
    )
    masked[index[:real]] = np.asarray(drawn)[:real]
  return masked


@functools.partial(
  jax.jit, static_argnames=('masks', 'schedule', 'image_tokens')
)
def _draw_masks(key, ids, *, masks, schedule, image_tokens):
  def of_record(record_id):
    keys = jax.random.split(jax.random.fold_in(key, record_id), masks)
    return jax.vmap(
      lambda k: mask_schedules.draw_mask(k, image_tokens, schedule)
    )(keys)

  return jax.vmap(of_record)(ids)


@functools.partial(jax.jit, static_argnames=('chunk_size', 'replies', 'mesh'))
def _score(
  reference, tower, batch, masked, pixels, *, chunk_size, replies, mesh
):
  with sharding.use_mesh(mesh):
    if pixels is not None:
      batch = real_images.add_features(tower, batch, pixels)
    return pair_log_likelihood.pair_logps(
      reference, batch, masked, chunk_size, replies
    )[0]
