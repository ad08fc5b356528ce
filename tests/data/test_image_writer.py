"""Pictures say how they were made, and sheets show them all."""

import numpy as np
from PIL import Image
import pytest

from hermesflow_jax.data import image_writer


def image(color, size=(32, 32)):
  return np.full((*size, 3), color, np.uint8)


def test_a_picture_keeps_its_pixels_and_its_facts(tmp_path):
  pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
  facts = {'prompt': 'a "bénch" 椅子\n', 'seed': 3, 'sampler': {'steps': 2}}
  image_writer.save_png(tmp_path / 'a.png', pixels, facts)
  with Image.open(tmp_path / 'a.png') as actual:
    np.testing.assert_array_equal(np.asarray(actual), pixels)
    assert actual.text['Description'] == facts['prompt']
  assert image_writer.read_metadata(tmp_path / 'a.png') == facts


def test_a_picture_of_another_program_has_no_facts(tmp_path):
  Image.fromarray(image(3)).save(tmp_path / 'a.png')
  with pytest.raises(ValueError, match='has no metadata of hermesflow_jax'):
    image_writer.read_metadata(tmp_path / 'a.png')


def test_a_sheet_shows_every_image_in_its_row(tmp_path):
  colors = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255)]]
  rows = [[image(c) for c in row] for row in colors]
  labels = ['first', 'a label far too long for two images ' * 9]
  image_writer.contact_sheet(tmp_path / 'sheet.png', rows, labels)
  page = np.asarray(Image.open(tmp_path / 'sheet.png'))
  tops = []
  for row in colors:
    for color in row:
      ys, xs = np.nonzero((page == color).all(-1))
      # Small images are shown larger, 96 pixels a side.
      assert len(ys) == 96 * 96
      assert np.ptp(ys) == np.ptp(xs) == 95
    tops.append(ys.min())
  assert tops[0] < tops[1]


def test_images_of_any_form_fit_on_a_sheet(tmp_path):
  rows = [[image((255, 0, 0), (600, 900)), image((0, 255, 0), (300, 300))]]
  image_writer.contact_sheet(tmp_path / 'sheet.png', rows, ['x'])
  page = np.asarray(Image.open(tmp_path / 'sheet.png'))
  assert page.shape[1] < 400
  assert (page == (255, 0, 0)).all(-1).any()
  assert (page == (0, 255, 0)).all(-1).any()
