"""Steps of the image sampler over a mesh, also a few steps at a time."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.runtime import sharding
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_to_image
from hermesflow_jax.sequences import token_rows


@dataclasses.dataclass(frozen=True)
class ImageSteps:
  """The sampler's steps for N captions.

  Attributes:
    unified: a `unified_model.UnifiedModel`.
    sampler: image sampler settings.
    rows: Rows [N, P], the captions.
    empty: Rows [P], the empty caption, used by guidance.
    counts: S numbers, codes that stay masked after each step.
    skipped: pads that were cut off on the left of the rows.
  """

  unified: Any
  sampler: maskgit.MaskGITSampler
  rows: token_rows.Rows
  empty: token_rows.Rows
  counts: tuple[int, ...]
  skipped: int

  def draw(self, keys: np.ndarray, known_codes) -> np.ndarray:
    """Computes all steps, also for images that are finished before the last.

    Args:
      keys: uint32[N, K, 2], raw random keys of K images for each caption.
      known_codes: see `batched.draw_images`.

    Returns:
      int32[N, K, I], image codes.
    """

    def draw(batch):
      with sharding.use_mesh(self.unified.mesh):
        return batched.draw_images(
          self.unified.sampler.serving_model,
          *batch,
          self.empty,
          self.counts,
          config=self.sampler,
          skipped=self.skipped,
        )

    return self.unified.sampler.map(
      'drawing images', draw, (keys, self.rows, known_codes), keys.shape[1]
    )

  def draw_span(
    self,
    keys: np.ndarray,
    states: np.ndarray | None,
    span: tuple[int, int],
    fill=maskgit.sampled,
    most: int | None = None,
  ) -> tuple[np.ndarray, np.ndarray]:
    """Computes some steps.

    Args:
      keys: uint32[N, K, 2], raw random keys of K images for each caption.
      states: int32[N, K, I], codes before these steps, -1 where masked; None
        for images without codes, which share their first pass.
      span: (first step, step behind the last).
      fill: codes of drafts, see `maskgit.sample_steps`.
      most: number of captions that a smaller number is padded to, up to a
        chunk, so that few sizes are compiled; None for no padding.

    Returns:
      (states int32[N, K, I] after these steps, drafts int32[N, K, I]).
    """
    begin, end = span
    guided = self.sampler.guided_steps()[begin:end]

    def draw(batch):
      with sharding.use_mesh(self.unified.mesh):
        return _draw_steps(
          self.unified.sampler.serving_model,
          *batch,
          self.empty,
          np.array(self.counts, np.int32),
          begin,
          config=self.sampler,
          skipped=self.skipped,
          guided=guided,
          fill=fill,
        )

    return self.unified.sampler.map(
      'drawing images',
      draw,
      (keys, self.rows, states),
      keys.shape[1],
      padded=most is not None,
      most=most,
    )

  def select(self, captions: np.ndarray) -> 'ImageSteps':
    """Returns the steps for the captions at some places, int[R]."""
    rows = jax.tree.map(lambda a: a[captions], self.rows)
    return dataclasses.replace(self, rows=rows)


def prepare(unified, captions, sampler: maskgit.MaskGITSampler) -> ImageSteps:
  """Builds the rows of captions.

  Args:
    unified: a `unified_model.UnifiedModel`.
    captions: N texts.
    sampler: image sampler settings.
  """
  tokens = unified.text.encode(captions)
  longest = unified.lengths.max_text
  rows = text_to_image.t2i_prefix(unified.vocab, tokens, longest)
  empty = text_to_image.t2i_prefix(unified.vocab, [[]], longest)
  # Pads that all rows have are not computed.
  used = batched.padded_length(
    int(rows.valid.sum(-1).max()), rows.valid.shape[1]
  )
  skipped = rows.valid.shape[1] - used
  rows, empty = jax.tree.map(lambda a: a[:, skipped:], (rows, empty))
  empty = jax.tree.map(lambda a: jnp.asarray(a[0]), empty)
  counts = mask_schedules.schedule_counts(
    sampler.steps,
    unified.grid[0] * unified.grid[1],
    mask_schedules.parse_schedule(sampler.schedule),
  )
  counts = tuple(counts.tolist())
  return ImageSteps(unified, sampler, rows, empty, counts, skipped)


@functools.partial(
  jax.jit, static_argnames=('config', 'skipped', 'guided', 'fill')
)
def _draw_steps(
  model, keys, rows, states, empty, counts, begin, config, skipped, guided, fill
):
  """Computes some steps of `batched.draw_images`.

  Args:
    model: a ShowO.
    keys: uint32[N, K, 2], raw random keys.
    rows: Rows [N, P], captions.
    states: int32[N, K, I], -1 where masked; None: all are masked.
    empty: Rows [P], the empty caption, used by guidance.
    counts: int32[S], codes that stay masked after each step.
    begin: number of the first step.
    config: maskgit.MaskGITSampler.
    skipped: pads that were cut off on the left of the rows.
    guided: whether each of these steps has guidance.
    fill: see `maskgit.sample_steps`.

  Returns:
    (states int32[N, K, I], drafts int32[N, K, I]).
  """

  def draw_image(key, row, state, empty):
    text = [row, empty] if config.guidance else [row]
    state, draft, _ = maskgit.sample_steps(
      model,
      jax.random.wrap_key_data(key),
      text,
      state,
      config,
      counts,
      begin,
      guided,
      fill=fill,
      skipped=skipped,
    )
    return state, draft

  axis = 0
  if states is None:
    states, axis = jnp.full(model.config.image_tokens, -1, jnp.int32), None
  draw_candidates = jax.vmap(draw_image, (0, None, axis, None))
  return jax.vmap(draw_candidates, (0, 0, axis, None))(
    keys, rows, states, empty
  )
