"""Omni-attention mask of rows with text and image tokens.

Text attends causally, an image attends to itself in full (Show-o, arXiv
2408.12528, section 3.2). A row stores this rule as an integer per token, `ar`
(autoregressive): 1 opens a block, 0 extends the current block. A token attends
to its own block and to all blocks before it.

  text   1 1 1 1            each token is a block: causal attention
  image  1 0 0 0            <|soi|>, codes, <|eoi|> are a block: full attention
  t2i    1 1 1 1 | 1 0 0 0  text | image
  mmu    1 0 0 0 | 1 1 1 1  <|mmu|> and image | text

Only pads attend to pads. As in the official code, a pad attends to all blocks
up to its own, including pads; its outputs are never used. So every query
attends at least to itself and no softmax runs over an empty set.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

# Score of a masked key, and logit of a forbidden token. Finite, because a
# softmax over scores of minus infinity alone would be NaN.
LOWEST = jnp.finfo(jnp.float32).min


def mask_matrix(ar: jax.Array, valid: jax.Array) -> jax.Array:
  """Returns the dense attention mask of rows.

  A t2i row `pad <|t2i|> text <|soi|> code code <|eoi|>`: the text is causal,
  the four tokens of the image attend to the text and to each other, and only
  the pad attends to the pad.

  >>> import numpy as np
  >>> ar = np.array([1, 1, 1, 1, 0, 0, 0])
  >>> valid = np.array([0, 1, 1, 1, 1, 1, 1], bool)
  >>> print(mask_matrix(ar, valid).astype(int))
  [[1 0 0 0 0 0 0]
   [0 1 0 0 0 0 0]
   [0 1 1 0 0 0 0]
   [0 1 1 1 1 1 1]
   [0 1 1 1 1 1 1]
   [0 1 1 1 1 1 1]
   [0 1 1 1 1 1 1]]

  An mmu row `<|mmu|> <|soi|> code <|eoi|> text text`: the image never attends
  to the text after it.

  >>> print(mask_matrix(np.array([1, 0, 0, 0, 1, 1]), valid[1:]).astype(int))
  [[1 1 1 1 0 0]
   [1 1 1 1 0 0]
   [1 1 1 1 0 0]
   [1 1 1 1 0 0]
   [1 1 1 1 1 0]
   [1 1 1 1 1 1]]

  Args:
    ar: int32[..., T], 1 opens a block, 0 extends it.
    valid: bool[..., T], False on pads.

  Returns:
    bool[..., T, T], [query, key], True where the query attends to the key.
  """
  block = jnp.cumsum(ar, axis=-1)
  valid = jnp.asarray(valid)
  reached = block[..., None, :] <= block[..., :, None]
  return reached & (valid[..., None, :] | ~valid[..., :, None])


def mask_matrix_with_features(
  ar: jax.Array, valid: jax.Array, features: jax.Array
) -> jax.Array:
  """Returns the dense attention mask of rows with CLIP features.

  Every query attends to the features, even the system prompt and <|soi|>
  before them. Otherwise the mask equals `mask_matrix`.

      <|mmu|> system <|soi|>  features  <|eoi|> text
         1    1 1 1     1     1 1 1 1      1    1 1 1

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
  """Attention mask whose visible keys are contiguous: start <= key < end.

  Attributes:
    start: int32[..., T] or [..., 1], first visible key; None: key 0.
    end: int32[..., T] or [..., 1], end of the visible keys; None: the number
      of keys.
  """

  start: jax.Array | None = None
  end: jax.Array | None = None

  def skip_queries(self, first: int) -> 'Interval':
    """Returns the mask without the first `first` queries."""

    def cut(bound):
      is_per_query = bound is not None and bound.shape[-1] > 1
      return bound[..., first:] if is_per_query else bound

    return Interval(cut(self.start), cut(self.end))

  def keys(self, size: int) -> jax.Array | None:
    """Returns the dense mask over `size` keys.

    Args:
      size: S, key count.

    Returns:
      bool[..., T or 1, S]; None where all keys are visible.
    """
    index, out = jnp.arange(size), None
    if self.start is not None:
      out = index >= self.start[..., None]
    if self.end is not None:
      before = index < self.end[..., None]
      out = before if out is None else out & before
    return out


def key_intervals(ar: jax.Array, valid: jax.Array) -> Interval:
  """Returns the mask of rows as intervals, which need no T x T array.

  Args:
    ar: int32[..., T], see `mask_matrix`.
    valid: bool[..., T]. The valid tokens must be contiguous, as in all rows
      of this package; otherwise no single interval exists.

  Returns:
    Interval with bounds int32[..., T]: `keys(T)` equals `mask_matrix`.
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
  """Layout of a segment of a packed row, see `Packed`.

  Attributes:
    size: T, tokens of a copy.
    count: C, copy count; they follow each other in the row and do not
      attend to each other.
    prefix: index of an earlier segment that all copies attend to, e.g. the
      caption before image codes; or None. That segment has a single copy.
    image: leading tokens of a copy that form an image. They attend
      to each other and to no other token of the copy; none is a pad.
  """

  size: int
  count: int = 1
  prefix: int | None = None
  image: int = 0


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=['own', 'prefix'],
  meta_fields=['segments'],
)
@dataclasses.dataclass(frozen=True)
class Packed:
  """Attention mask of packed rows, whose segments can share a prefix.

  Attributes:
    segments: layout of the row, from left to right.
    own: for each segment, the mask between tokens of the same copy: None for
      all keys, or an `Interval` with bounds that broadcast against
      int32[..., C, T].
    prefix: for each segment, the mask over the keys of its prefix segment, see
      `Segment.prefix`; same form.
  """

  segments: tuple[Segment, ...]
  own: tuple[Interval | None, ...]
  prefix: tuple[Interval | None, ...]


# Mask of an attention call: an interval of keys per query, a packed row,
# bool[..., T, S] with True at visible keys, or None where all are visible.
Mask = Interval | Packed | jax.Array | None
