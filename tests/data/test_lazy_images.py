"""Images are read when they are used, a batch after the other."""

import functools

import numpy as np
import pytest
import tiny

from hermesflow_jax.data import input_set
from hermesflow_jax.data import lazy_images
from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_objects


@pytest.fixture
def reads():
  return []


@pytest.fixture
def images(reads):
  """Seven images of 2 x 3 pixels, whose values are their numbers."""

  def read(number):
    reads.append(number)
    return np.full((2, 3, 3), number, np.uint8)

  return lazy_images.LazyImages([functools.partial(read, n) for n in range(7)])


def test_an_index_reads_nothing_and_an_array_reads_each_image_once(
  images, reads
):
  selected = images[np.array([4, 1, 4])][:2][[1, 0, 0]]
  assert len(selected) == 3 and not reads
  array = np.asarray(selected)
  assert array.dtype == np.uint8 and reads == [1, 4]
  np.testing.assert_array_equal(array[:, 0, 0, 0], [1, 4, 4])
  assert images.shape == (7, 2, 3, 3)


def test_a_map_over_images_holds_two_batches(images, reads):
  """The host reads a batch while the device computes the batch before."""
  begun = []

  def first_values(batch):
    begun.append(len(reads))
    assert batch.shape == (2, 2, 3, 3)
    return batch[:, 0, 0, 0]

  values = batching.map_batches(first_values, images, 2, tiny.mesh(1, 1))
  np.testing.assert_array_equal(values, range(7))
  assert begun == [2, 4, 6, 7] and reads == list(range(7))


def test_inputs_select_images_without_reading_them(images, reads):
  records = [
    {
      'id': str(n),
      'caption': '',
      'tag': '',
      'questions': [],
      'codes': np.zeros(4, int),
      'pixels': images.readers[n],
    }
    for n in (2, 0, 1)
  ]
  inputs = input_set.from_records(records)
  part = inputs.part(slice(1, None)).select([1, 0])
  assert part.ids == ['2', '1'] and not reads
  np.testing.assert_array_equal(np.asarray(part.images)[:, 0, 0, 0], [2, 1])


def test_images_of_many_places_are_read_once(images, reads, monkeypatch):
  """Readers are made when they are taken, as those of many inputs are."""
  monkeypatch.setattr(disk_objects, 'MOST', 3)
  readers = images.readers
  many = lazy_images.LazyImages(
    disk_objects.Computed(7, lambda n: functools.partial(readers[n]))
  )
  chosen = many[disk_arrays.Integers([5, 2, 5, 5, -1, 2])]
  assert len(chosen) == 6 and len(chosen.readers) == 6 and not reads
  array = np.asarray(chosen[1:])
  assert array[:, 0, 0, 0].tolist() == [2, 5, 5, 6, 2] and reads == [2, 5, 6]
  assert np.asarray(many[4:])[:, 0, 0, 0].tolist() == [4, 5, 6]
  assert chosen.readers[3]()[0, 0, 0] == 5
