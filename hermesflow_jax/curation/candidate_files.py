"""A round's candidates with their scores: `codes.npz`."""

from collections.abc import Iterator
from collections.abc import Sequence
import json
import pathlib
import zipfile

import numpy as np

from hermesflow_jax.curation import candidate_generation
from hermesflow_jax.data.sources import json_scanner
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import npz_files
from hermesflow_jax.runtime import output_files

NAME = 'codes.npz'
# Arrays that are read; the last exists where inputs have more or fewer images.
_DRAWN = 'drawn'
_READ = ('candidates', 'image_scores', 'caption_scores', 'captions', _DRAWN)


def write_candidates(
  folder: pathlib.PurePath,
  real: np.ndarray,
  candidates: candidate_generation.Candidates,
) -> None:
  """Writes codes, captions and scores as arrays.

  Args:
    folder: round folder.
    real: int[N, I], codes that encode the real images.
    candidates: candidates for N inputs.
  """
  drawn = {}
  if candidates.drawn is not None:
    drawn['drawn'] = np.asarray(candidates.drawn)
  npz_files.write(
    folder / NAME,
    real=real,
    candidates=candidates.codes,
    image_scores=candidates.image_scores,
    caption_scores=candidates.caption_scores,
    # JSON, because an array of texts is as long as its longest text.
    captions=_json_bytes(candidates.captions),
    **drawn,
  )


def _json_bytes(rows: Sequence) -> np.ndarray:
  """Returns rows as a JSON list: uint8[...]; memory holds a row at a time."""

  def parts():
    for number, row in enumerate(rows):
      yield (', ' if number else '[').encode() + json.dumps(row).encode()
    yield b']' if len(rows) else b'[]'

  text = disk_arrays.empty((sum(map(len, parts())),), np.uint8)
  begin = 0
  for part in parts():
    text[begin : begin + len(part)] = np.frombuffer(part, np.uint8)
    begin += len(part)
  return text


def _rows_of_json(text: np.ndarray) -> Iterator[list[str]]:
  """Yields the rows that `_json_bytes` wrote.

  Raises:
    ValueError: the text is no JSON list.
  """
  scanner = json_scanner.Scanner(_ArrayFile(text))
  if not scanner.skip('['):
    raise ValueError('captions must be a JSON list')
  while not scanner.skip(']'):
    yield scanner.value()[2]  # ASCII, as the standard library writes JSON.
  if scanner.peek():
    raise ValueError('captions must be a single JSON list')


class _ArrayFile:
  """An array uint8[...] that is read like a file."""

  def __init__(self, array):
    self._array, self._at = array, 0

  def read(self, size: int) -> bytes:
    """Returns the next bytes, at most `size`; b'' at the end."""
    part = self._array[self._at : self._at + size]
    self._at += len(part)
    return part.tobytes()


def read_candidates(
  folder: pathlib.PurePath,
) -> candidate_generation.Candidates:
  """Reads a round's candidates, without answers.

  Many image codes and captions lie in files, see `disk_arrays`.

  Args:
    folder: round folder.

  Raises:
    ValueError: the file is damaged, or an earlier release wrote it, without
      caption texts.
  """
  path = folder / NAME
  try:
    with path.open('rb') as file, zipfile.ZipFile(file) as archive:
      if 'captions.npy' not in archive.namelist():
        raise ValueError('an earlier release wrote it without captions')
      # Everything is read but the codes of the real images.
      values = {
        name: npz_files.read_array(archive, name)
        for name in _READ
        if name != _DRAWN or f'{name}.npy' in archive.namelist()
      }
    return candidate_generation.Candidates(
      captions=disk_objects.keep(_rows_of_json(values['captions'])),
      caption_scores=values['caption_scores'],
      codes=values['candidates'],
      image_scores=values['image_scores'],
      answers=[],
      drawn=values.get(_DRAWN),
    )
  except npz_files.DAMAGE as error:
    raise output_files.damaged(path, error) from error
