"""The omni-attention rule: who sees whom in a row of text and image tokens.

One integer a token says it all. `ar = 1` opens a block, `ar = 0` joins the
block before: a token sees its own block and all blocks before it. So

  text   1 1 1 1            every token a block: causal
  image  1 0 0 0            <|soi|>, codes, <|eoi|>: one block, sees itself
  t2i    1 1 1 1 | 1 0 0 0  text | image
  mmu    1 0 0 0 | 1 1 1 1  <|mmu|> and image | text

Nothing sees a pad but pads. What pads see is of no consequence for the result
and follows the official code: all blocks up to their own, pads included. Hence
every query sees at least itself, and no softmax runs over nothing.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp


def mask_matrix(ar: jax.Array, valid: jax.Array) -> jax.Array:
  """Returns which key each query sees.

  Args:
    ar: int32[..., T], 1 opens a block, 0 joins it.
    valid: bool[..., T], False on pads.

  Returns:
    bool[..., T, T], [query, key].
  """
  block = jnp.cumsum(ar, axis=-1)
  valid = jnp.asarray(valid)
  reached = block[..., None, :] <= block[..., :, None]
  return reached & (valid[..., None, :] | ~valid[..., :, None])


def mask_matrix_with_features(
  ar: jax.Array, valid: jax.Array, features: jax.Array
) -> jax.Array:
  """Returns who sees whom in rows with CLIP features: the one exception.

  The columns of the features are seen by EVERY query, also by the system
  prompt and <|soi|> before them; all else is as in `mask_matrix`.

      <|mmu|> system <|soi|>  features  <|eoi|> text       all causal but for
         1    1 1 1     1     1 1 1 1      1    1 1 1      the features

  Args:
    ar: int32[..., T], see `mask_matrix`.
    valid: bool[..., T], see `mask_matrix`.
    features: bool[T], True at the features.

  Returns:
    bool[..., T, T], [query, key].
  """
  return mask_matrix(ar, valid) | jnp.asarray(features)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Interval:
  """The keys that each query sees, where these are contiguous.

  Attributes:
    start: int32[..., T] or [..., 1], the first key; None: the first of all.
    end: int32[..., T] or [..., 1], after the last key; None: after all.
  """

  start: jax.Array | None = None
  end: jax.Array | None = None

  def after(self, first: int) -> 'Interval':
    """Returns the interval of the queries from the `first` on."""

    def cut(bound):
      is_each = bound is not None and bound.shape[-1] > 1
      return bound[..., first:] if is_each else bound

    return Interval(cut(self.start), cut(self.end))

  def keys(self, size: int) -> jax.Array | None:
    """Returns bool[..., T or 1, size], which keys are seen; None: all."""
    index, out = jnp.arange(size), None
    if self.start is not None:
      out = index >= self.start[..., None]
    if self.end is not None:
      before = index < self.end[..., None]
      out = before if out is None else out & before
    return out


def key_intervals(ar: jax.Array, valid: jax.Array) -> Interval:
  """Returns the keys each query sees as one interval, for mask-free kernels.

  Args:
    ar: int32[..., T], see `mask_matrix`.
    valid: bool[..., T]; the tokens that are not pads are contiguous, as in all
      rows of `prompting`. Otherwise there is no single interval.

  Returns:
    Bounds int32[..., T]: query q sees start[q] <= k < end[q].
  """
  ar, valid = jnp.asarray(ar), jnp.asarray(valid)
  size = ar.shape[-1]
  index = jnp.arange(size, dtype=jnp.int32)
  opened = jax.lax.cummin(
    jnp.where(ar == 1, index, size), axis=ar.ndim - 1, reverse=True
  )
  last = jnp.full_like(opened[..., :1], size)
  block_end = jnp.concatenate([opened[..., 1:], last], axis=-1)
  first_valid = jnp.argmax(valid, axis=-1, keepdims=True).astype(jnp.int32)
  valid_end = jnp.max(jnp.where(valid, index + 1, 0), axis=-1, keepdims=True)
  k_start = jnp.where(valid, first_valid, 0)
  k_end = jnp.where(valid, jnp.minimum(block_end, valid_end), block_end)
  return Interval(k_start, k_end)


@dataclasses.dataclass(frozen=True)
class Segment:
  """Some tokens of a packed row, see `Packed`.

  Attributes:
    size: T, tokens of one copy.
    count: C, copies, which stand one after the other and see not each other.
    after: the number of the segment that all copies see; None: none. It has
      one copy.
    image: the first tokens of a copy that are those of an image: they see each
      other and no other of the copy, and none is a pad.
  """

  size: int
  count: int = 1
  after: int | None = None
  image: int = 0


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=['own', 'before'],
  meta_fields=['segments'],
)
@dataclasses.dataclass(frozen=True)
class Packed:
  """Who sees whom in a row of several parts, some of which share a beginning.

  Attributes:
    segments: as they stand in the row.
    own: for each, the keys that its tokens see of their own copy: None for
      all, or an `Interval` of bounds that broadcast against int32[..., C, T].
    before: the same of the segment that it comes after.
  """

  segments: tuple[Segment, ...]
  own: tuple[Interval | None, ...]
  before: tuple[Interval | None, ...]
