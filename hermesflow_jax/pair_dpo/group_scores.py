"""Log-probabilities for groups under a frozen model.

Captions are scored once, before the round. Images are scored once with fixed
masks, otherwise in each step, as the masks change.
"""

from collections.abc import Callable
from collections.abc import Sequence
import functools

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.data import lazy_images
from hermesflow_jax.pair_dpo import group_rows
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import packed_log_likelihood
from hermesflow_jax.pair_dpo import real_images
from hermesflow_jax.pair_dpo import reference_scores
from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sequences import mask_schedules


def score_groups(
  name: str,
  model,
  records: Sequence[dict],
  make_transform: Callable[[float], Callable],
  *,
  layout: group_rows.GroupLayout,
  objective: objective_config.ObjectiveConfig,
  schedule: mask_schedules.Schedule,
  image_tokens: int,
  seed: int,
  batch_size: int,
  chunk_size: int,
  mesh,
  images: lazy_images.LazyImages | None = None,
  tower=None,
) -> Sequence[dict]:
  """Scores records under a frozen model once, before training.

  Args:
    name: the model's name, a member of `group_rows.FROZEN`.
    model: frozen ShowO.
    records: from `candidate_groups.join_groups`.
    make_transform: drop probability -> `group_rows.make_transform`.
    layout: R rows per group, which are scored in turn.
    objective: J, masks per group, and whether they are fixed.
    schedule: mask schedule.
    image_tokens: I, codes per image.
    seed: seed for the masks.
    batch_size: records per batch; the mesh's `data` axis must divide it.
    chunk_size: see `packed_log_likelihood.token_logps`.
    mesh: device mesh.
    images: the records' real images, for a model that reads CLIP features.
    tower: their `clip.Clip`, or None.

  Returns:
    The records with `<name>_captions` float32[M, W] if captions are learned; if
    images are learned with fixed masks also `masked` bool[J, I] and
    `<name>_images` float32[2, K, J, I + 2], with the caption and without it
    (both the same if the condition is never dropped). M and K fill up the rows.
  """
  fixed = objective.fixed_masks and objective.learns_images
  if not fixed and not objective.learns_captions:
    return records
  masked = None
  if fixed:
    masked = reference_scores.masks_of_records(
      [record['id'] for record in records],
      seed,
      masks=objective.masks,
      schedule=schedule,
      image_tokens=image_tokens,
    )

  def score(dropped, replies):
    make_row, rng = make_transform(float(dropped)), np.random.default_rng(0)

    def build(index):
      return batching.stack(
        [make_row(records[n], rng)['packed'] for n in index]
      )

    packed = batching.BuiltRows(len(records), build, divided=True)
    return batching.map_batches(
      lambda batch: _score(
        model,
        tower,
        *batch,
        layout=layout,
        chunk_size=chunk_size,
        replies=replies,
        mesh=mesh,
      ),
      (packed, masked, images if replies else None),
      batch_size,
      mesh,
    )

  logps = score(False, objective.learns_captions)
  by_image = None
  if fixed:
    empty = score(True, False) if objective.drop_condition else logps
    shape = len(records), 2, *logps.t2i.shape[1:]
    by_image = disk_arrays.empty(shape, logps.t2i.dtype)
    for n in range(len(records)):
      by_image[n] = logps.t2i[n], empty.t2i[n]

  def with_scores(n):
    record = dict(records[n])
    if logps.mmu is not None:
      record[f'{name}_captions'] = logps.mmu[n]
    if by_image is not None:
      record['masked'], record[f'{name}_images'] = masked[n], by_image[n]
    return record

  return disk_objects.Computed(len(records), with_scores)


@functools.partial(
  jax.jit, static_argnames=('layout', 'chunk_size', 'replies', 'mesh')
)
def _score(
  model, tower, packed, masked, pixels, *, layout, chunk_size, replies, mesh
):
  """Returns `TokenValues` [B, ...] for all candidates, row by row."""
  size, shared = len(packed.codes), {}
  if pixels is not None:
    packed = real_images.add_features(tower, packed, pixels)
  if masked is not None:
    shared['masked'] = masked
  rows = group_rows.split_rows({'packed': packed} | shared, layout)

  def by_row(a):
    return jnp.moveaxis(a.reshape(size, layout.rows, *a.shape[1:]), 1, 0)

  def score_row(row):
    return packed_log_likelihood.token_logps(
      model, row['packed'], row.get('masked'), chunk_size, replies
    )[0]

  with sharding.use_mesh(mesh):
    scores = jax.lax.map(score_row, jax.tree.map(by_row, rows))

  def by_group(a):
    a = jnp.moveaxis(a, 0, 1)
    return a.reshape(size, a.shape[1] * a.shape[2], *a.shape[3:])

  return jax.tree.map(by_group, scores)
