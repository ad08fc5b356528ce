"""Names the kind of a file by its first bytes, for error messages."""

import pathlib
import re

# Bytes that are read of a file.
_HEAD = 512
_CONVERT = 'convert it to PNG'
_COPY = 'copy it again'
_UTF8 = 'save it as UTF-8'
_UNPACK = 'unpack it'
_LINES = 'write its rows as JSON lines'
# Expression for the first bytes, kind, advice; the first match counts.
_SIGNATURES = tuple(
  (re.compile(expression, re.DOTALL | re.IGNORECASE), kind, advice)
  for expression, kind, advice in (
    (rb'version https://git-lfs', 'a Git LFS pointer', 'run `git lfs pull`'),
    (rb'\s*<(!doctype )?html', 'a web page', 'download the file itself'),
    (rb'\s*(<\?xml.*)?<svg', 'an SVG file', _CONVERT),
    (rb'\x89PNG', 'a damaged PNG file', _COPY),
    (rb'\xff\xd8\xff', 'a damaged JPEG file', _COPY),
    (rb'RIFF(.{4}WEBP|.{0,4}W?E?B?$)', 'a damaged WebP file', _COPY),
    (rb'GIF8', 'a GIF file', _CONVERT),
    (rb'BM.{4}\0{4}', 'a BMP file', _CONVERT),
    (rb'II[*+]\0|MM\0[*+]', 'a TIFF file', _CONVERT),
    (rb'.{4}ftypavif', 'an AVIF file', _CONVERT),
    (rb'.{4}ftyp(hei|hev|mif1)', 'a HEIC file', _CONVERT),
    (rb'.{4}ftyp', 'a video', 'take a frame of it'),
    (rb'\xff\x0a|\x00{3}\x0cJXL ', 'a JPEG XL file', _CONVERT),
    (rb'\x00{3}\x0cjP  ', 'a JPEG 2000 file', _CONVERT),
    (rb'8BPS\0', 'a Photoshop file', _CONVERT),
    (rb'%PDF-', 'a PDF file', _CONVERT),
    (rb'\x00\x00\x01\x00', 'an icon file', _CONVERT),
    (rb'\x1f\x8b', 'a gzip file', _UNPACK),
    (rb'\x28\xb5\x2f\xfd', 'a Zstandard file', _UNPACK),
    (rb'BZh[1-9]1AY', 'a bzip2 file', _UNPACK),
    (rb'\xfd7zXZ\0', 'an xz file', _UNPACK),
    (rb'PK\x03\x04', 'a zip file', _UNPACK),
    (rb'PAR1', 'a Parquet file', _LINES),
    (rb'ARROW1\0', 'an Arrow file', _LINES),
    (rb'\xff\xfe\0\0|\0\0\xfe\xff', 'UTF-32 text', _UTF8),
    (rb'\xff\xfe|\xfe\xff', 'UTF-16 text', _UTF8),
    (rb'\0[^\0]|[^\0]\0', 'text with NUL bytes, as in UTF-16', _UTF8),
  )
)


def check_regular(path: pathlib.PurePath) -> None:
  """Checks that a path is no pipe and no device, which are read only once.

  A job reads its files several times, and a pipe without a writer waits for
  ever.

  Args:
    path: a `storage.path`; a path that does not exist passes.

  Raises:
    ValueError: the path is a pipe or a device.
    OSError: the path cannot be looked at.
  """
  if not isinstance(path, pathlib.Path) or not path.exists():
    return
  if not (path.is_file() or path.is_dir()):
    raise ValueError(
      'it must be a file, got a pipe or a device; write its content to a file'
    )


def name(path: pathlib.PurePath) -> str:
  """Returns the kind of a file with advice.

  Args:
    path: file, a `storage.path`.

  Returns:
    E.g. 'a GIF file; convert it to PNG'; '' for an unknown kind.

  Raises:
    OSError: the file cannot be read.
  """
  with path.open('rb') as file:
    return name_of_bytes(file.read(_HEAD))


def name_of_bytes(data: bytes) -> str:
  """Returns the kind of a file with these first bytes; see `name`."""
  if not data:
    return f'an empty file; {_COPY}'
  head = data[:_HEAD]
  for signature, kind, advice in _SIGNATURES:
    if signature.match(head):
      return f'{kind}; {advice}'
  return ''
