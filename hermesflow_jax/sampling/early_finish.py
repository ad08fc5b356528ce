"""Draws images, and computes no more steps of images that are finished.

With an error budget (`maskgit.MaskGITSampler`) some images have all of their
codes early. The steps are computed in stretches; after each stretch, only the
other images go on. So images finish apart from those that share their batch.
"""

import numpy as np

from hermesflow_jax.sampling import image_steps
from hermesflow_jax.sampling import search_settings

# Stretches of all steps. A stretch computes the caption's cache anew, and sends
# the codes to the host.
STRETCHES = 8
# Batches of the images that go on: as many as at first, a quarter, or fewer.
_SHRINK = 4


def draw(
  steps: image_steps.ImageSteps, keys: np.ndarray, known_codes=None
) -> tuple[np.ndarray, np.ndarray]:
  """Draws images.

  Args:
    steps: captions and sampler.
    keys: uint32[N, K, 2], raw random keys of K images for each caption.
    known_codes: (codes int32[N, K, I], known bool[N, K, I]), codes to keep
      where known; or None.

  Returns:
    (codes int32[N, K, I], decoder passes of each image float[N, K]: of all
    steps that were computed for it; a shared first step counts once).
  """
  sampler = steps.sampler
  count, images = keys.shape[:2]
  guided = sampler.guided_steps()
  shared = images if known_codes is None else 1
  if not sampler.error_budget:
    passes = search_settings.step_passes(guided, shared)
    codes = steps.draw(keys, known_codes)
    return codes, np.full((count, images), passes)
  # The first stretch has the images of a caption together, so that they share
  # its cache and the first step.
  first, *later = _spans(sampler.steps)
  states = first_states(known_codes)
  states, codes = steps.draw_span(keys, states, first)
  passes = np.full(
    count * images, search_settings.step_passes(guided[slice(*first)], shared)
  )
  length = codes.shape[-1]
  states, codes = states.reshape(-1, length), codes.reshape(-1, length)
  keys = keys.reshape(count * images, 1, -1)
  active = np.arange(count * images)
  for span in later:
    active = active[(states[active] < 0).any(1)]
    if not len(active):
      break
    after, drafts = steps.select(active // images).draw_span(
      keys[active],
      states[active][:, None],
      span,
      most=_padded_count(len(active), len(keys)),
    )
    states[active], codes[active] = after[:, 0], drafts[:, 0]
    passes[active] += search_settings.step_passes(guided[slice(*span)])
  return codes.reshape(count, images, -1), passes.reshape(count, images)


def draw_all_sizes(steps: image_steps.ImageSteps, keys: np.ndarray) -> None:
  """Computes the later stretches for all numbers of images that may go on.

  `draw` needs a part of them, by the images that are finished. So a server
  compiles them before requests need them.

  Args:
    steps: captions and sampler.
    keys: uint32[N, 1, 2], raw random keys of an image for each caption.
  """
  guided = steps.sampler.guided_steps()
  grid = steps.unified.grid
  states = np.full((len(keys), 1, grid[0] * grid[1]), -1, np.int32)
  programs = {guided[slice(*span)]: span for span in _spans(len(guided))[1:]}
  count, sizes = len(keys), []
  while count not in sizes:
    sizes.append(count)
    count = -(-count // _SHRINK)
  for span in programs.values():
    for count in sizes:
      steps.select(np.arange(count)).draw_span(
        keys[:count], states[:count], span, most=count
      )


def _spans(steps: int) -> list[tuple[int, int]]:
  """Returns (first step, step behind the last) of each stretch."""
  size = -(-steps // STRETCHES)
  return [(begin, min(begin + size, steps)) for begin in range(0, steps, size)]


def first_states(known_codes) -> np.ndarray | None:
  """Returns codes int32[N, K, I] before the first step; None without codes.

  Args:
    known_codes: see `draw`.
  """
  if known_codes is None:
    return None
  codes, known = known_codes
  return np.where(known, codes, -1).astype(np.int32)


def _padded_count(count: int, first: int) -> int:
  """Returns `first`, or this divided by 4 until it is just enough.

  >>> _padded_count(30, 1000)
  63
  """
  while -(-first // _SHRINK) >= count and first > 1:
    first = -(-first // _SHRINK)
  return first
