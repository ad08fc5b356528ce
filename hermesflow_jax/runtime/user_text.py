"""Checks and normalizes text of users: captions, questions, prompts."""

from collections.abc import Collection
import re
import unicodedata

# Longest text that a message quotes, in characters.
_QUOTED = 200
_SURROGATE = re.compile('[\ud800-\udfff]')
# Tabs and line ends are no faults; U+0085 is a line end, too.
_CONTROL = re.compile('[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]')
# Spaces that look like ' ', but have other tokens.
_SPACES = '\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000'
# Characters without a glyph: byte order mark, zero-width space, soft hyphen,
# marks of direction. The joiners U+200C and U+200D are letters of some
# languages and parts of emoji.
_INVISIBLE = (
  '\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f'
  '\ufeff\ufff9-\ufffb'
)
_SPACE = re.compile(f'[{_SPACES}]')
_ODD = re.compile(f'[{_SPACES}{_INVISIBLE}]')


def check(name: str, text: str) -> None:
  """Raises ValueError for text that no tokenizer can read.

  Args:
    name: name of the text, for the error.
    text: text.

  Raises:
    ValueError: the text has a lone surrogate, a byte that is not UTF-8, or a
      control character other than tabs and line ends.
  """
  if match := _SURROGATE.search(text):
    code, place = ord(match[0]), match.start()
    if 0xDC80 <= code <= 0xDCFF:
      # Python decodes such bytes to surrogates ('surrogateescape').
      reason = f'the byte 0x{code - 0xDC00:x}, which is not UTF-8,'
    else:
      reason = 'half a character'
    raise ValueError(
      f'{name} must be Unicode text, got {quote(text)} with {reason} at {place}'
    )
  if match := _CONTROL.search(text):
    raise ValueError(
      f'{name} must have no control characters, got {quote(text)} with '
      f'{_label(match[0])} at {match.start()}'
    )


def check_plain(name: str, text: str) -> None:
  """Raises ValueError for text that `normalize` would change.

  Args:
    name: setting name, for the error.
    text: text.

  Raises:
    ValueError: see `check`; or the text has an odd space or an invisible
      character.
  """
  check(name, text)
  if match := _ODD.search(text):
    raise ValueError(
      f'{name} must have plain spaces and visible characters, got '
      f'{quote(text)} with {_label(match[0])} at {match.start()}; type it again'
    )


def normalize(text: str) -> str:
  r"""Returns text with plain spaces, without invisible characters.

  >>> normalize('a\u00a0red\u200b ring')
  'a red ring'
  """
  return _ODD.sub('', _SPACE.sub(' ', text)) if _ODD.search(text) else text


def odd_characters(text: str) -> list[str]:
  r"""Returns names of the characters that `normalize` replaces or drops.

  >>> odd_characters('a\u00a0red ring')
  ['U+00A0 (NO-BREAK SPACE)']
  """
  return [_label(character) for character in dict.fromkeys(_ODD.findall(text))]


def normalize_fields(value, kept: Collection[str]) -> tuple[object, list[str]]:
  """Normalizes the texts of a JSON value.

  Args:
    value: JSON value.
    kept: keys whose values stay, e.g. file names.

  Returns:
    (value, names of the characters that were replaced or dropped).
  """
  odd = {}

  def visit(item):
    if isinstance(item, str):
      odd.update(dict.fromkeys(odd_characters(item)))
      return normalize(item)
    if isinstance(item, list):
      return [visit(element) for element in item]
    if isinstance(item, dict):
      return {k: v if k in kept else visit(v) for k, v in item.items()}
    return item

  return visit(value), list(odd)


def counted(number: int, noun: str) -> str:
  """Returns e.g. '1 image' or '3 images'.

  Args:
    number: count.
    noun: singular of a noun whose plural ends with an s.
  """
  return f'{number} {noun}{"s" * (number != 1)}'


def quote(value: object) -> str:
  """Returns a value as a message shows it, a long one without its middle."""
  if isinstance(value, str):
    return repr(_without_middle(value, _QUOTED))
  return _without_middle(repr(value), 2 * _QUOTED)


def _without_middle(text: str, limit: int) -> str:
  if len(text) <= limit:
    return text
  half = (limit - 3) // 2
  # Paths differ at their end.
  return f'{text[:half]}...{text[-half:]}'


def _label(character: str) -> str:
  """Returns e.g. 'U+00A0 (NO-BREAK SPACE)'."""
  name = unicodedata.name(character, '')
  return f'U+{ord(character):04X}' + (f' ({name})' if name else '')
