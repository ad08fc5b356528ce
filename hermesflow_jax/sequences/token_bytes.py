"""Bytes that a token stands for; a byte-level BPE cuts characters apart."""

import functools

from hermesflow_jax.sequences import text_tokenizer


def token_bytes(text: text_tokenizer.TextTokenizer, token: int) -> bytes:
  """Returns the bytes of a token, which may be a part of a character.

  Args:
    text: text tokenizer.
    token: text id.
  """
  name = text.backend.id_to_token(token) or ''
  decoder = text.backend.decoder
  is_byte_level = type(decoder).__name__ == 'ByteLevel'
  if is_byte_level and all(letter in _byte_of() for letter in name):
    return bytes(_byte_of()[letter] for letter in name)
  return name.encode()


@functools.cache
def _byte_of() -> dict[str, int]:
  """Returns the byte of each letter that a byte-level BPE writes for it.

  Printable letters of Latin-1 stand for their own byte; letters from U+0100 on
  stand for the other bytes, in order.
  """
  printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
  others = [byte for byte in range(256) if byte not in printable]
  letters = {chr(byte): byte for byte in printable}
  return letters | {chr(256 + n): byte for n, byte in enumerate(others)}
