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
    counts: int32[S], codes that stay masked after each step.
    skipped: pads that were cut off on the left of the rows.
  """

  unified: Any
  sampler: maskgit.MaskGITSampler
  rows: token_rows.Rows
  empty: token_rows.Rows
  counts: np.ndarray
  skipped: int

  def draw(self, keys: np.ndarray, known_codes) -> np.ndarray:
    """Computes all steps.

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
  ) -> tuple[np.ndarray, np.ndarray]:
    """Computes some steps.

    Args:
      keys: uint32[N, K, 2], raw random keys of K images for each caption.
      states: int32[N, K, I], codes before these steps, -1 where masked; None
        for images without codes, which share their first pass.
      span: (first step, step behind the last).
      fill: codes of drafts, see `maskgit.sample_steps`.

    Returns:
      (states int32[N, K, I] after these steps, drafts int32[N, K, I]).
    """

    def draw(batch):
      with sharding.use_mesh(self.unified.mesh):
        return _draw_steps(
          self.unified.sampler.serving_model,
          *batch,
          self.empty,
          self.counts,
          config=self.sampler,
          skipped=self.skipped,
          span=span,
          fill=fill,
        )

    return self.unified.sampler.map(
      'drawing images', draw, (keys, self.rows, states), keys.shape[1]
    )


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
  return ImageSteps(unified, sampler, rows, empty, counts, skipped)


@functools.partial(
  jax.jit, static_argnames=('config', 'skipped', 'span', 'fill')
)
def _draw_steps(
  model, keys, rows, states, empty, counts, config, skipped, span, fill
):
  """Computes some steps of `batched.draw_images`.

  Args:
    model: a ShowO.
    keys: uint32[N, K, 2], raw random keys.
    rows: Rows [N, P], captions.
    states: int32[N, K, I], -1 where masked; None: all are masked.
    empty: Rows [P], the empty caption, used by guidance.
    counts: int32[S], codes that stay masked after each step.
    config: maskgit.MaskGITSampler.
    skipped: pads that were cut off on the left of the rows.
    span: (first step, step behind the last).
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
      span,
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
