"""Laws of the judge: it sees what is there, and says when it cannot."""

import collections
import itertools

import numpy as np
import pytest
from scipy import ndimage

from hermesflow_jax.shapes import caption_questions
from hermesflow_jax.shapes import drawing
from hermesflow_jax.shapes import object_detection
from hermesflow_jax.shapes import pixel_judge
from hermesflow_jax.shapes import scene_sampler
from hermesflow_jax.shapes import shape_world

LOOKS = list(
  itertools.product(shape_world.SHAPES, shape_world.COLORS, shape_world.SIZES)
)


def scenes(count, jitter=0, split='eval'):
  return [scene_sampler.sample_scene(split, 5, i, jitter) for i in range(count)]


def draw(*objects):
  return drawing.render(shape_world.Scene('', '', objects))


def truth(scene):
  return collections.Counter(
    (o.shape, o.color, o.size, o.row, o.col) for o in scene.objects
  )


def seen(image):
  return collections.Counter(
    (f.shape, f.color, f.size, int(f.y // 16), int(f.x // 16))
    for f in object_detection.read_image(image)
  )


def soften(image, rng, sigma, noise, shift=0):
  """Blurs, shifts the colors of, and adds noise to a picture."""
  out = ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0))
  out += rng.normal(0, noise, out.shape) + rng.uniform(-shift, shift, 3)
  return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def agreement(drawn, change):
  """The share of scenes read exactly."""
  return np.mean([seen(change(drawing.render(s))) == truth(s) for s in drawn])


def sure(image):
  """The objects whose look is believed."""
  return [
    f
    for f in object_detection.read_image(image)
    if None not in (f.shape, f.color, f.size)
  ]


@pytest.mark.parametrize('jitter', [0, 1])
def test_clean_renders_are_read_as_drawn(jitter):
  # Measured: 1.0.
  assert agreement(scenes(1000, jitter), lambda image: image) >= 0.995


@pytest.mark.parametrize('look', LOOKS[::7])
def test_centres_are_found_within_a_pixel(look):
  shape, color, size = look
  (actual,) = object_detection.read_image(
    draw(shape_world.Obj(shape, color, size, 2, 1, 1, -1))
  )
  assert abs(actual.x - 25) <= 1
  assert abs(actual.y - 39) <= 1


@pytest.mark.parametrize('sigma, noise, shift', [(0.6, 5, 15), (0.8, 5, 15)])
def test_the_softness_of_an_autoencoder_is_tolerated(sigma, noise, shift):
  rng = np.random.default_rng(0)
  drawn = scenes(250) + scenes(250, jitter=1)
  kept = agreement(drawn, lambda image: soften(image, rng, sigma, noise, shift))
  assert kept >= 0.99


def test_a_true_picture_scores_one_a_blank_one_zero():
  blank = np.full((64, 64, 3), shape_world.BACKGROUND, np.uint8)
  for scene in scenes(120):
    requested = caption_questions.questions_of_caption('', scene.caption)
    assert pixel_judge.score_image(drawing.render(scene), requested) == 1.0
    assert pixel_judge.score_image(blank, requested) == 0.0
    assert pixel_judge.is_correct(drawing.render(scene), requested)
    assert not pixel_judge.is_correct(blank, requested)


@pytest.mark.parametrize('sigma', [2.0, 3.0])
def test_strong_blur_is_not_believed(sigma):
  rng = np.random.default_rng(0)
  for shape, color, size in LOOKS:
    image = draw(shape_world.Obj(shape, color, size, 1, 1))
    blurred = soften(image, rng, sigma, 0)
    assert not sure(blurred)


@pytest.mark.parametrize('look', LOOKS[::3])
def test_half_an_object_is_not_believed(look):
  image = draw(shape_world.Obj(*look, 1, 1))
  for half in np.s_[16:24, :], np.s_[24:32, :], np.s_[:, 16:24], np.s_[:, 24:]:
    broken = image.copy()
    broken[half] = shape_world.BACKGROUND
    assert not sure(broken)


def test_overlapping_objects_are_not_taken_for_others():
  rng = np.random.default_rng(0)
  wrong = 0
  for _ in range(500):
    looks = [LOOKS[i] for i in rng.integers(len(LOOKS), size=2)]
    image = np.full((64, 64, 3), shape_world.BACKGROUND, np.float32)
    for (shape, color, size), place in zip(looks, (0.0, 6.0), strict=True):
      alpha = drawing.coverage(shape, size, 64, place, place / 2)[..., None]
      image += alpha * (shape_world.COLORS[color] - image)
    actual = sure(np.rint(image).astype(np.uint8))
    wrong += any((f.shape, f.color, f.size) not in looks for f in actual)
  assert wrong <= 5


def test_an_object_of_two_colors_has_no_color():
  for shape, size in itertools.product(shape_world.SHAPES, shape_world.SIZES):
    for first, second in itertools.combinations(shape_world.COLORS, 2):
      image = draw(shape_world.Obj(shape, first, size, 1, 1))
      other = draw(shape_world.Obj(shape, second, size, 1, 1))
      image[:, 24:] = other[:, 24:]
      assert not sure(image)


def test_faded_objects_are_never_taken_for_another_color():
  for (shape, color, size), strength in itertools.product(
    LOOKS, (0.3, 0.5, 0.7, 0.9)
  ):
    image = draw(shape_world.Obj(shape, color, size, 1, 1)).astype(float)
    image = 235.0 + (image - 235.0) * strength
    actual = object_detection.read_image(np.rint(image).astype(np.uint8))
    assert all(f.color in (None, color) for f in actual)


def test_noise_shows_nothing():
  rng = np.random.default_rng(0)
  for _ in range(10):
    noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert not sure(noise)


def test_a_ghost_counts_as_an_unsure_object():
  image = np.full((64, 64, 3), shape_world.BACKGROUND, np.uint8)
  image[20:28, 20:28] -= 45
  (actual,) = object_detection.read_image(image)
  assert (actual.shape, actual.color, actual.size) == (None, None, None)
  assert (actual.x, actual.y) == (24.0, 24.0)


def test_specks_do_not_count():
  image = draw(shape_world.Obj('circle', 'red', 'small', 1, 1))
  image[50, 50:52] = 150
  image[5, 40] = 0
  assert len(object_detection.read_image(image)) == 1


def test_objects_at_the_border_are_read():
  corners = [
    shape_world.Obj(
      shape,
      'blue',
      'large',
      row,
      col,
      2 * (col // 2) - 2 * (col < 2),
      2 * (row // 2) - 2 * (row < 2),
    )
    for shape, (row, col) in zip(
      shape_world.SHAPES, itertools.product((0, 3), (0, 3)), strict=False
    )
  ]
  actual = object_detection.read_image(draw(*corners))
  assert {f.shape for f in actual} == {o.shape for o in corners}


def test_bad_arguments_are_refused():
  with pytest.raises(ValueError, match='must be uint8'):
    object_detection.read_image(np.zeros((64, 64, 3), np.float32))
  image = np.full((64, 64, 3), shape_world.BACKGROUND, np.uint8)
  with pytest.raises(ValueError, match='questions must not be empty'):
    pixel_judge.score_image(image, [])
