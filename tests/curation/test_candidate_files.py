"""The file of a round's candidates, and files that cannot be read."""

import json

import numpy as np
import pytest

from hermesflow_jax.curation import candidate_files
from hermesflow_jax.curation import candidate_generation


def candidates():
  return candidate_generation.Candidates(
    captions=[['a red ring', 'zwei Ringe é'], ['', 'a ring']],
    caption_scores=np.array([[1.0, 0.0], [0.5, 0.5]]),
    codes=np.arange(24, dtype=np.int32).reshape(2, 3, 4),
    image_scores=np.zeros((2, 3)),
    answers=[],
  )


def test_candidates_return_as_they_were_written(tmp_path):
  expected = candidates()
  candidate_files.write_candidates(tmp_path, np.zeros((2, 4)), expected)
  actual = candidate_files.read_candidates(tmp_path)
  assert actual.captions == expected.captions
  for name in ('codes', 'caption_scores', 'image_scores'):
    np.testing.assert_array_equal(
      getattr(actual, name), getattr(expected, name)
    )


@pytest.mark.parametrize('count', [0, 1, 2])
def test_captions_are_the_text_that_json_writes(count):
  captions = candidates().captions[:count]
  actual = candidate_files._json_bytes(captions).tobytes()
  assert actual == json.dumps(captions).encode()


@pytest.mark.parametrize(
  'arrays, message',
  [
    (None, 'is damaged .*remove it'),
    ({'candidates': np.zeros(2)}, 'earlier release wrote it without captions'),
  ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, arrays, message):
  path = tmp_path / candidate_files.NAME
  path.write_bytes(b'PK') if arrays is None else np.savez(path, **arrays)
  with pytest.raises(ValueError, match=message):
    candidate_files.read_candidates(tmp_path)


def test_a_byte_that_is_another_is_no_traceback(tmp_path):
  candidate_files.write_candidates(tmp_path, np.zeros((2, 4)), candidates())
  path = tmp_path / candidate_files.NAME
  data, damaged = path.read_bytes(), 0
  for place in range(0, len(data), 5):
    path.write_bytes(
      data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :]
    )
    try:
      candidate_files.read_candidates(tmp_path)
    except OSError:
      damaged += 1  # A command prints it as a line.
    except ValueError as error:
      assert 'remove it' in str(error)
      damaged += 1
  assert damaged > len(data) / 10
