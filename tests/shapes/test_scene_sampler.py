"""Laws of the embedded world."""

import dataclasses
import itertools
import re

import numpy as np
import pytest

from hermesflow_jax.shapes import drawing
from hermesflow_jax.shapes import scene_sampler
from hermesflow_jax.shapes import shape_world

PER_SPLIT = 1200


def pictures(split, jitter=0):
  return [
    scene_sampler.sample_scene(split, 0, i, jitter) for i in range(PER_SPLIT)
  ]


@pytest.fixture(scope='module')
def scenes():
  return {split: pictures(split) for split in shape_world.SPLITS}


def key(scene):
  return frozenset(
    (o.shape, o.color, o.size, o.row, o.col) for o in scene.objects
  )


def test_no_two_splits_share_a_picture(scenes):
  seen = {split: {key(s) for s in own} for split, own in scenes.items()}
  for single, other in itertools.combinations(seen.values(), 2):
    assert not single & other


def test_splits_ignore_jitter_order_and_caption(scenes):
  for scene in scenes['eval'][:100]:
    moved = [dataclasses.replace(o, dx=1, dy=-1) for o in scene.objects]
    assert scene_sampler.scene_bucket(
      tuple(moved[::-1])
    ) == scene_sampler.scene_bucket(scene.objects)


def test_held_out_combinations_occur_only_in_held_out_splits(scenes):
  for split, own in scenes.items():
    shown = {(o.color, o.shape) for scene in own for o in scene.objects}
    if split in scene_sampler.HELD_OUT_SPLITS:
      assert shown >= scene_sampler.HELD_OUT
    else:
      assert not shown & scene_sampler.HELD_OUT


def test_every_other_combination_is_trained(scenes):
  shown = {(o.color, o.shape) for s in scenes['train'] for o in s.objects}
  combinations = set(itertools.product(shape_world.COLORS, shape_world.SHAPES))
  assert shown == combinations - scene_sampler.HELD_OUT


@pytest.mark.parametrize(
  'sample', [scene_sampler.sample_scene, scene_sampler.crowded_scene]
)
def test_a_scene_follows_from_split_seed_and_index(sample):
  first = [sample('train', 5, i, 1) for i in range(30)]
  again = [sample('train', 5, i, 1) for i in reversed(range(30))]
  other = [sample('train', 6, i, 1) for i in range(30)]
  assert first == again[::-1]
  assert sum(a == b for a, b in zip(first, other, strict=True)) < 3


def test_scenes_of_a_seed_never_change():
  scene = scene_sampler.sample_scene('eval', 0, 4, 1)
  assert scene.caption == 'a cross left of a triangle'


def test_tags_take_equal_turns(scenes):
  tags = [scene.tag for scene in scenes['final']]
  assert {tags.count(tag) for tag in shape_world.TAGS} == {
    PER_SPLIT // len(shape_world.TAGS)
  }


def test_captions_say_the_looks_of_their_objects(scenes):
  for scene in itertools.chain.from_iterable(scenes.values()):
    left = list(scene.objects)
    parts = re.split(
      ' and | , | left of | right of | above | below ', scene.caption
    )
    for part in parts:
      first, *words = part.split()
      count = (
        shape_world.NUMBERS.index(first) if first in shape_world.NUMBERS else 1
      )
      for _ in range(count):
        left.remove(
          next(
            o
            for o in left
            if set(words)
            <= {o.shape, shape_world.plural(o.shape), o.color, o.size}
          )
        )
    assert not left, scene


def test_relations_hold_in_pixels(scenes):
  steps = {
    'left of': (-1, 0),
    'right of': (1, 0),
    'above': (0, -1),
    'below': (0, 1),
  }
  for scene in scenes['eval']:
    if scene.tag == 'position':
      relation = next(r for r in steps if f' {r} ' in scene.caption)
      a, b = scene.objects
      across, down = a.x - b.x, a.y - b.y
      x, y = steps[relation]
      along = across * x + down * y
      assert along > max(abs(across * y), abs(down * x))
      assert along >= shape_world.CELL


def test_objects_are_one_to_four_and_each_in_its_own_cell(scenes):
  for scene in itertools.chain.from_iterable(scenes.values()):
    assert 1 <= len(scene.objects) <= 4
    assert len({(o.row, o.col) for o in scene.objects}) == len(scene.objects)


def test_crowded_scenes_keep_the_split_and_its_combinations():
  for i in range(200):
    scene = scene_sampler.crowded_scene('preference', 0, i)
    assert 5 <= len(scene.objects) <= 16
    assert 70 <= scene_sampler.scene_bucket(scene.objects) < 80
    assert not scene_sampler.HELD_OUT & {
      (o.color, o.shape) for o in scene.objects
    }


@pytest.mark.parametrize('jitter', [0, 1])
def test_a_picture_shows_each_color_at_its_object_only(jitter):
  for i in range(60):
    scene = scene_sampler.crowded_scene('eval', 0, i, jitter)
    image = drawing.render(scene)
    assert image.dtype == np.uint8 and image.shape == (64, 64, 3)
    empty = (image == shape_world.BACKGROUND).all(-1)
    for o in scene.objects:
      radius = shape_world.SIZES[o.size] // 2
      box = np.s_[
        int(o.y) - radius : int(o.y) + radius,
        int(o.x) - radius : int(o.x) + radius,
      ]
      assert (image[box] == drawing.rgb_of_color(o.color)).all(-1).any()
      empty[box] = True
    assert empty.all()


def test_neighbours_at_jitter_one_stay_apart():
  gap = shape_world.CELL - 2 * 1 - shape_world.SIZES['large']
  assert gap >= 2


@pytest.mark.parametrize('shape', shape_world.SHAPES)
def test_sizes_are_diameters(shape):
  for size, diameter in shape_world.SIZES.items():
    covered = np.argwhere(drawing.coverage(shape, size, 20) > 0)
    extent = covered.max(0) - covered.min(0) + 1
    assert extent.tolist() == [diameter, diameter]


@pytest.mark.parametrize(
  'arguments, message',
  [
    (('test', 0, 0), "split must be one of .*, got 'test'"),
    (('train', -1, 0), 'seed and index must be at least 0, got -1 and 0'),
    (('train', 0, -1), 'seed and index must be at least 0, got 0 and -1'),
    (('train', 0, 0, 9), 'jitter must be 0 to 2, got 9'),
  ],
)
def test_bad_arguments_are_named(arguments, message):
  with pytest.raises(ValueError, match=message):
    scene_sampler.sample_scene(*arguments)


def test_names_are_unique_and_sorted():
  assert scene_sampler.scene_id('eval', 0, 123) == 'eval-0-000123'


def test_arbitrary_colors_stay_away_from_held_out_combinations():
  for i in range(0, 400, 5):
    for o in scene_sampler.crowded_scene('train', 0, i).objects:
      color = np.array(drawing.rgb_of_color(o.color))
      for name, shape in scene_sampler.HELD_OUT:
        distance = np.linalg.norm(color - shape_world.COLORS[name])
        assert shape != o.shape or distance >= scene_sampler.MIN_FAR
