"""Chooses a font that has the characters of a label."""

import functools
import unicodedata

from PIL import ImageFont

# File names of fonts with many characters, as Linux, macOS and Windows have
# them; Pillow searches the folders of the system.
SYSTEM_FONTS = (
  'DejaVuSans.ttf',
  'NotoSansCJK-Regular.ttc',
  'NotoSansCJKsc-Regular.otf',
  'SourceHanSansSC-Regular.otf',
  'wqy-microhei.ttc',
  'wqy-zenhei.ttc',
  'DroidSansFallbackFull.ttf',
  'NotoSans-Regular.ttf',
  'NotoSansArabic-Regular.ttf',
  'NotoSansDevanagari-Regular.ttf',
  'NotoEmoji-Regular.ttf',
  'Symbola.ttf',
  'FreeSans.ttf',
  'Arial Unicode.ttf',
  'PingFang.ttc',
  'Hiragino Sans GB.ttc',
  'arial.ttf',
  'msyh.ttc',
  'segoeui.ttf',
  'seguiemj.ttf',
)
# No font has a glyph for this code point: fonts draw their box for it.
_NO_CHARACTER = '\U0010fffe'


def fit_label(
  label: str, size: int, names: tuple[str, ...] = SYSTEM_FONTS
) -> tuple[ImageFont.FreeTypeFont, str]:
  r"""Returns the font with most characters of a label, and a text for it.

  Args:
    label: text.
    size: font size in pixels.
    names: fonts to try after Pillow's own.

  Returns:
    (font, the label; characters without a glyph are escaped, e.g. as \u7ea2).
  """
  label = ' '.join(label.split())
  best, fewest = None, None
  for name in ('', *names):
    font = _load(name, size)
    absent = {c for c in set(label) if font and not _has_glyph(font, c)}
    if font and (best is None or len(absent) < len(fewest)):
      best, fewest = font, absent
    if not fewest:
      break
  return best, ''.join(_escaped(c) if c in fewest else c for c in label)


def _escaped(character: str) -> str:
  """Returns a code point as text; '' for marks, which have no width."""
  if unicodedata.category(character) in ('Mn', 'Cf'):
    return ''
  return character.encode('unicode_escape').decode()


@functools.cache
def _load(name: str, size: int) -> ImageFont.FreeTypeFont | None:
  """Returns a font of the system, None if absent; '' is Pillow's own."""
  if not name:
    return ImageFont.load_default(size)
  try:
    return ImageFont.truetype(name, size)
  except OSError:
    return None


@functools.lru_cache(maxsize=4096)
def _has_glyph(font: ImageFont.FreeTypeFont, character: str) -> bool:
  """Returns whether a font draws a character other than its box."""
  font, box = _plain(font)
  mask = font.getmask(character)
  return (mask.size, bytes(mask)) != box


@functools.cache
def _plain(font):
  """Returns (font without shaping, its box for an absent character).

  Shaping puts a circle below a mark that stands alone.
  """
  font = font.font_variant(layout_engine=ImageFont.Layout.BASIC)
  box = font.getmask(_NO_CHARACTER)
  return font, (box.size, bytes(box))
