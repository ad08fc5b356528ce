"""Image codes of training rows, computed from pixels on the device."""

from collections.abc import Callable
import dataclasses
import functools

import jax
import jax.numpy as jnp

from hermesflow_jax.runtime import sharding
from hermesflow_jax.sampling import batched
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary

P = jax.sharding.PartitionSpec


def make_encoder(tokenizer, vocab: vocabulary.Vocab, mesh, chunk: int):
  """Returns the function that puts codes into the rows of a device batch.

  Args:
    tokenizer: a Magvit; every device holds it.
    vocab: token ids.
    mesh: device mesh.
    chunk: images that a device encodes at once, at most.

  Returns:
    {task: {'rows': Rows [B, T], 'pixels': uint8[B, H, W, 3]}} -> {task: Rows}.
    Rows of tasks without pixels stay as they are. The programs run
    asynchronously, so a batch is encoded while the host reads the next.
  """
  encode = encoding_program(vocab, mesh, chunk)

  def encode_batch(batch: dict) -> dict:
    return {
      task: encode(tokenizer, value['rows'], value['pixels'])
      if 'pixels' in value
      else value['rows']
      for task, value in batch.items()
    }

  return encode_batch


@functools.lru_cache(maxsize=4)
def encoding_program(vocab: vocabulary.Vocab, mesh, chunk: int) -> Callable:
  """Returns the jitted function (tokenizer, rows, pixels) -> rows with codes.

  Args:
    vocab: token ids.
    mesh: device mesh.
    chunk: images that a device encodes at once, at most.
  """
  split = jax.sharding.NamedSharding(mesh, P('data'))

  def encode(tokenizer, rows, pixels):
    with sharding.use_mesh(mesh):
      codes = encode_pixels(tokenizer, pixels, mesh, chunk)
    return put_codes(vocab, rows, codes)

  return jax.jit(encode, out_shardings=split)


def encode_pixels(tokenizer, pixels: jax.Array, mesh, chunk: int) -> jax.Array:
  """Encodes images, split over all devices where their number allows it.

  Args:
    tokenizer: a Magvit.
    pixels: uint8[B, H, W, 3]; the mesh's `data` axis must divide B.
    mesh: device mesh, which is set by `sharding.use_mesh`.
    chunk: images that a device encodes at once, at most.

  Returns:
    int32[B, I].
  """
  axes = ('data', 'model')
  if len(pixels) % (mesh.shape['data'] * mesh.shape['model']):
    axes = ('data',)
  return jax.shard_map(
    functools.partial(_in_chunks, chunk=chunk),
    in_specs=(P(), P(axes)),
    out_specs=P(axes),
    check_vma=False,
  )(tokenizer, pixels)


def _in_chunks(tokenizer, pixels, chunk):
  """Encodes images in equal chunks of at most `chunk`."""
  count = len(pixels)
  size = max(n for n in range(1, min(chunk, count) + 1) if count % n == 0)
  codes = jax.lax.map(
    lambda part: batched.encode_batch(tokenizer, part),
    pixels.reshape(count // size, size, *pixels.shape[1:]),
  )
  return codes.reshape(count, -1)


def put_codes(
  vocab: vocabulary.Vocab, rows: token_rows.Rows, codes: jax.Array
) -> token_rows.Rows:
  """Puts image codes into rows, behind <|soi|>.

  Args:
    vocab: token ids.
    rows: t2i or mmu rows [B, T], all with <|soi|> at the same position.
    codes: int32[B, I], image codes.

  Returns:
    Rows with these codes as tokens and, where codes are scored, as labels.
  """
  first = jnp.argmax(rows.tokens[0] == vocab.soi) + 1
  tokens = jax.lax.dynamic_update_slice_in_dim(
    rows.tokens, codes + vocab.image_offset, first, axis=1
  )
  index = jnp.arange(tokens.shape[1])
  is_code = (index >= first) & (index < first + codes.shape[1])
  scored = rows.labels != token_rows.UNSCORED
  return dataclasses.replace(
    rows, tokens=tokens, labels=jnp.where(is_code & scored, tokens, rows.labels)
  )
