"""Runs the batched samplers over a device mesh, in chunks of few sizes."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.sampling import batched

with lazy_modules.on_first_use():
  from hermesflow_jax.sampling import serving_weights


@dataclasses.dataclass(frozen=True)
class MeshSampler:
  """A model on a mesh, ready to sample.

  Attributes:
    model: a ShowO, as it is trained.
    mesh: device mesh.
    chunk: rows per compiled call; a multiple of the mesh's `data` axis.
    progress: (label) -> wrapper of iterables, e.g. a progress bar.
    clock: `timing.DeviceClock`, or None.
    vision: a `clip.Clip` whose features the model reads, or None.
  """

  model: Any
  mesh: Any
  chunk: int
  progress: Callable[[str], Callable]
  clock: Any = None
  vision: Any = None

  @functools.cached_property
  def serving_model(self):
    """The model, prepared for sampling."""
    model = serving_weights.prepare_for_serving(self.model, self.mesh)
    if self.vision is not None:
      # A copy of the trained model, which does not learn.
      model.vision = self.vision
    return model

  def map(
    self,
    label: str,
    function: Callable,
    arrays,
    rows_per_input: int = 1,
    *,
    padded: bool = False,
    most: int | None = None,
  ):
    """Maps a compiled function over inputs, chunk by chunk.

    A small number of inputs gets a smaller chunk, a power of two per device.
    So few pads are computed and few sizes are compiled.

    Args:
      label: progress bar label.
      function: batch -> pytree with arrays [size, ...].
      arrays: pytree with arrays [N, ...].
      rows_per_input: rows that an input expands to within `function`.
      padded: whether a small number of inputs is padded to a complete chunk
        instead. Then the rounding of sums does not depend on their number.
      most: with `padded`: largest number of inputs in any call, for which a
        complete chunk may be too large; None for no limit.

    Returns:
      Pytree with numpy arrays [N, ...].
    """
    data = self.mesh.shape['data']
    chunk = max(self.chunk // rows_per_input // data, 1)
    count = len(jax.tree.leaves(arrays)[0])
    limit = most if padded else count
    if limit is not None:
      chunk = min(chunk, 1 << max(0, -(-limit // data) - 1).bit_length())
    chunk *= data
    return batching.map_batches(
      function, arrays, chunk, self.mesh, self.progress(label), self.clock
    )

  def write(
    self, samplers: Sequence[batched.Decoding], max_new: int, batch
  ) -> jax.Array:
    """Samples a reply per text sampler, see `batched.write_replies`.

    Args:
      samplers: M text samplers.
      max_new: limit on generated tokens.
      batch: (keys, images, prompts, lengths).

    Returns:
      int32[N, Q, M, max_new], token ids.
    """
    sampler_values = (
      np.array([d.temperature for d in samplers], np.float32),
      np.array([d.top_k for d in samplers], np.int32),
    )
    return batched.write_replies(
      self.serving_model,
      *batch,
      sampler_values,
      max_new=max_new,
      most=max(d.top_k for d in samplers),
    )

  def score(self, rule: Callable, batch) -> jax.Array:
    """Scores choices by a rule, see `batched.score_choices`.

    Args:
      rule: a function in `choice_rules.RULES`.
      batch: (images, prompts, lengths, choices).

    Returns:
      float32[N, Q, C], scores.
    """
    return batched.score_choices(self.serving_model, *batch, rule=rule)
