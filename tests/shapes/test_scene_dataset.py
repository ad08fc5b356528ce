"""Scenes that cannot be written are an error of one line."""

import pytest

from hermesflow_jax.shapes import scene_dataset


class Builder:
  """A dataset builder that fails."""

  def __init__(self, text):
    self.text = text

  def download_and_prepare(self):
    raise RuntimeError(self.text)


def test_a_full_disk_is_named():
  builder = Builder('write() failed: No space left on device; at byte 28672')
  with pytest.raises(OSError) as raised:
    scene_dataset._generate(builder, 'runs/data')
  assert str(raised.value) == (
    'scenes in runs/data could not be written: No space left on device'
  )


def test_other_errors_are_raised_as_they_are():
  with pytest.raises(RuntimeError, match='other'):
    scene_dataset._generate(Builder('other'), 'runs/data')
