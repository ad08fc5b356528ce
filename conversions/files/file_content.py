"""Recognizes files by their first bytes, whatever their names are."""

import pathlib

# Bytes that are looked at.
HEAD = 512
ZIP = b'PK\x03\x04'
GIT_LFS = b'version https://git-lfs.github.com/'
PAGE = (b'<!doctype html', b'<html', b'<?xml', b'<head')


def is_zip(path: pathlib.Path) -> bool:
  """Returns whether a file is a zip archive, e.g. written by `torch.save`.

  Args:
    path: any file.
  """
  return _head(path).startswith(ZIP)


def is_safetensors(path: pathlib.Path) -> bool:
  """Returns whether a file begins as a safetensors file does.

  Args:
    path: any file.
  """
  head = _head(path)
  length = int.from_bytes(head[:8], 'little')
  return head[8:9] == b'{' and 2 <= length <= path.stat().st_size - 8


def refuse_other_content(path: pathlib.Path) -> None:
  """Refuses files that a failed download leaves in place of weights or JSON.

  Args:
    path: any file.

  Raises:
    ValueError: the file is empty, a Git LFS pointer or a web page. The one-line
      message says how to get the file itself.
  """
  head = _head(path)
  if not head:
    raise ValueError(f'{path} must hold data, got an empty file: download it')
  if head.startswith(GIT_LFS):
    raise ValueError(
      f'{path} must be the file itself, got a Git LFS pointer to it: run '
      f'`git lfs pull` in {path.parent}'
    )
  if head.lstrip(b'\xef\xbb\xbf \t\r\n').lower().startswith(PAGE):
    raise ValueError(
      f'{path} must be the file itself, got a web page: download it from the '
      'address of the file (on the hub with /resolve/ in place of /blob/), and '
      'log in if the model needs it'
    )


def refuse_text(path: pathlib.Path) -> None:
  """Refuses a text in place of weights.

  Args:
    path: file that must hold weights.

  Raises:
    ValueError: see `refuse_other_content`; or the file is a text, e.g. the
      error message of a server.
  """
  refuse_other_content(path)
  head = _head(path)
  if all(byte in b'\t\n\r' or 32 <= byte < 127 for byte in head):
    text = ' '.join(head.decode().split())
    raise ValueError(
      f'{path} must hold weights, got a text, {text[:60]!r}: download it again'
    )


def _head(path: pathlib.Path) -> bytes:
  with open(path, 'rb') as file:
    return file.read(HEAD)
