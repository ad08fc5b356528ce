"""Damages bytes as disks, networks and strangers do, for fuzz tests."""

import re
import struct

from hypothesis import strategies

# What breaks readers of text: other encodings, numbers beyond all types, nested
# lists, keys and values of other types.
TOKENS = [
  b'',
  b'\x00',
  b'\xef\xbb\xbf',
  b'\xff\xfe',
  b'\xed\xa0\x80',
  b'"\\ud800"',
  '\u202e\u200b\u00a0'.encode(),
  b'null',
  b'true',
  b'[]',
  b'{}',
  b'[[{}]]',
  b'""',
  b'" "',
  b'-1',
  b'0',
  b'0.5',
  b'NaN',
  b'Infinity',
  b'1e999',
  b'99999999999999999999',
  b'9' * 5_000,
  b'[' * 100_000,
  b'{"a":' * 20_000,
  b'"' + b'a' * 100_000 + b'"',
  b'../../../etc/passwd',
  b'/dev/zero',
  b'/dev/stdin',
  b'.',
  b'\r',
  b'\r\n\r\n',
  b',',
  b':',
  b'"',
  b'<|endoftext|>',
]
INTEGERS = [0, 1, 7, 127, 255, 65_535, 2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1]


def _overwrite(draw, data, start):
  """Writes random bytes over existing ones."""
  new = draw(strategies.binary(min_size=1, max_size=8))
  return data[:start] + new + data[start + len(new) :]


def _integer(draw, data, start):
  """Writes an integer at a limit of its type over existing bytes."""
  value = draw(strategies.sampled_from(INTEGERS))
  size = draw(strategies.sampled_from([1, 2, 4, 8]))
  new = struct.pack('<Q', value)[:size]
  return data[:start] + new + data[start + size :]


def _cut(draw, data, start):
  """Removes a part."""
  return data[:start] + data[start + draw(strategies.integers(1, 64)) :]


def _truncate(draw, data, start):
  """Removes all that follows."""
  del draw
  return data[:start]


def _repeat(draw, data, start):
  """Writes a part twice."""
  end = start + draw(strategies.integers(1, 256))
  return data[:end] + data[start:]


def _insert(draw, data, start):
  """Inserts a token that breaks readers of text."""
  return data[:start] + draw(strategies.sampled_from(TOKENS)) + data[start:]


def _replace_value(draw, data, start):
  """Replaces a JSON string, number or word by a token."""
  values = list(re.finditer(rb'"[^"\n]{0,200}"|-?\d[\d.e+-]*|\w+', data))
  if not values:
    return _insert(draw, data, start)
  value = values[start % len(values)]
  token = draw(strategies.sampled_from(TOKENS))
  return data[: value.start()] + token + data[value.end() :]


_OPERATIONS = [
  _overwrite,
  _integer,
  _cut,
  _truncate,
  _repeat,
  _insert,
  _replace_value,
  _replace_value,
]


@strategies.composite
def damaged(draw, data: bytes) -> bytes:
  """Draws a damaged copy of a file.

  Args:
    draw: hypothesis' function that draws from a strategy.
    data: valid content.
  """
  for _ in range(draw(strategies.integers(1, 4))):
    operation = draw(strategies.sampled_from(_OPERATIONS))
    data = operation(draw, data, draw(strategies.integers(0, len(data))))
  return data


def with_header_length(data: bytes) -> bytes:
  """Corrects the length in front of a safetensors header.

  Otherwise nearly all damage of a header is refused for its length.
  """
  end = data.rfind(b'}')
  if end < 8:
    return data
  return struct.pack('<Q', end - 7) + data[8:]
