"""Drawing for prompts, from nothing, a masked image or an image to extend."""

from collections.abc import Sequence
import functools

import numpy as np

from hermesflow_jax.sampling import inpainting
from hermesflow_jax.sampling import search
from hermesflow_jax.sampling import unified_model


def to_pixels(
  config,
  unified: unified_model.UnifiedModel,
  prompts: Sequence[str],
  start: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
  """Draws images for some prompts.

  Args:
    config: settings of `generate`.
    unified: model that draws.
    prompts: N texts.
    start: codes and mask from `starting_image.starting_codes`.

  Returns:
    uint8[N * M, H, W, 3], M images per prompt.
  """
  grid, count = unified.grid, config.images_per_prompt
  codes, known = start
  start_from = np.where(known, codes, inpainting.UNKNOWN)
  canvas = np.repeat(start_from[None], len(prompts) * count, axis=0)

  def draw(window, codes, known, stage):
    names = prompts
    if stage or window:
      names = [f'{prompt}/{stage}.{window}' for prompt in prompts]
    shape = len(prompts), count, -1
    drawn, _ = search.draw(
      unified,
      names,
      prompts,
      count,
      config.sampler,
      config.seed,
      config.search,
      codes=codes.reshape(shape),
      known=known.reshape(shape),
    )
    return drawn.reshape(codes.shape)

  for stage, side in enumerate(config.extend or (None,)):
    if side:
      canvas = inpainting.extend_canvas(canvas, side, grid)
    canvas = inpainting.fill_canvas(
      canvas, grid, functools.partial(draw, stage=stage)
    )
  return unified.decode(canvas)
