"""Codes of candidates are read from their shards when they are taken."""

import memory_growth
import numpy as np
import pytest

from hermesflow_jax.curation import candidate_files
from hermesflow_jax.curation import candidate_generation
from hermesflow_jax.curation import gathering
from hermesflow_jax.curation import pair_selection
from hermesflow_jax.curation import shards
from hermesflow_jax.data import input_set
from hermesflow_jax.pair_dpo import candidate_groups
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import npz_files

SIZES = (3, 2, 3, 1)
SHAPE = (4, 5)


def write_shards(folder, sizes, shape=SHAPE):
  """Writes shards of random candidates; returns (shards, codes)."""
  rng = np.random.default_rng(0)
  store = shards.Shards(folder, len(sizes))
  codes = rng.integers(0, 8192, (sum(sizes), *shape)).astype(np.int32)
  begin = 0
  for number, size in enumerate(sizes):
    span = slice(begin, begin + size)
    names = [f'{n:06d}' for n in range(*span.indices(len(codes)))]
    part = input_set.Inputs(names, names, names, [[]] * size, codes[span, 0])
    candidates = candidate_generation.Candidates(
      captions=[[f'{name} a', f'{name} b'] for name in names],
      caption_scores=np.tile([0.0, 1.0], (size, 1)),
      codes=codes[span],
      image_scores=np.tile(np.arange(shape[0]) / shape[0], (size, 1)),
      answers=[[['yes', 'no']] * shape[0]] * size,
    )
    files = {
      'jsonl': gathering.candidate_lines(part, candidates).encode(),
      'npz': gathering.candidate_arrays(candidates),
    }
    store.write(number, files, {})
    begin += size
  return store, codes


def test_codes_are_those_that_were_written(tmp_path):
  store, expected = write_shards(tmp_path, SIZES)
  names, candidates = gathering.read_shards(store)
  codes = candidates.codes
  assert codes.shape == expected.shape and codes.dtype == expected.dtype
  assert len(codes) == len(names) == sum(SIZES)
  np.testing.assert_array_equal(np.asarray(codes), expected)
  for n in (4, 0, -1, 8):
    np.testing.assert_array_equal(codes[n], expected[n])
  with pytest.raises(IndexError):
    codes[len(expected)]


@pytest.mark.parametrize(
  'span', [slice(0, 3), slice(2, 7), slice(8, 99), slice(5, 5), slice(None)]
)
def test_a_slice_crosses_shards(tmp_path, span):
  store, expected = write_shards(tmp_path, SIZES)
  codes = gathering.read_shards(store)[1].codes
  np.testing.assert_array_equal(codes[span], expected[span])


def test_equal_answers_are_an_object(tmp_path):
  store, _ = write_shards(tmp_path, SIZES)
  answers = gathering.read_shards(store)[1].answers
  assert answers == [[['yes', 'no']] * SHAPE[0]] * sum(SIZES)
  assert answers[0][0][0] is answers[-1][-1][0]


def test_texts_are_those_that_were_written(tmp_path):
  store, codes = write_shards(tmp_path, SIZES)
  captions = gathering.read_shards(store)[1].captions
  expected = [[f'{n:06d} a', f'{n:06d} b'] for n in range(len(codes))]
  assert captions == expected and captions != expected[1:]
  assert [captions[n] for n in (4, 0, -1)] == [expected[n] for n in (4, 0, -1)]
  assert captions[2:7] == expected[2:7]
  with pytest.raises(IndexError):
    captions[len(codes)]


def test_memory_holds_no_texts_of_opened_candidates(tmp_path):
  stores = {
    count: write_shards(tmp_path / str(count), [5] * (count // 5))[0]
    for count in (50, 650)
  }
  # The name of an input and six scores.
  bound = 200
  opened = lambda count: gathering.read_shards(stores[count])
  memory_growth.check_below(bound, opened, 50, 650)


@pytest.mark.parametrize('place', ['memory', 'disk'])
def test_memory_holds_pairs_but_no_other_images(tmp_path, monkeypatch, place):
  monkeypatch.setattr(npz_files, '_BYTES', 2**14)
  images, size = 16, 256
  if place == 'disk':
    monkeypatch.setattr(disk_objects, 'MOST', 5)
    # A shard and all real images lie in memory.
    monkeypatch.setattr(disk_arrays, 'MOST_BYTES', 4 * 210 * size)
  stores = {
    count: write_shards(tmp_path / str(count), [5] * (count // 5), (16, 256))
    for count in (10, 210)
  }

  def curate(count):
    names, candidates = gathering.read_shards(stores[count][0])
    pairs = pair_selection.select_pairs(
      candidates, names, pair_selection.PairRules(), {}
    )
    real = np.zeros((count, size), np.int32)
    candidate_files.write_candidates(tmp_path, real, candidates)
    return pairs

  # All images of an input have `4 * images * size` bytes, a pair has two of
  # these; texts, scores and objects take the rest. On disk
  # names and scores stay, and what Python keeps of the first few objects.
  bound = 2_600 if place == 'disk' else 4 * 2 * size + 3_000
  assert bound < 4 * images * size / 2
  memory_growth.check_below(bound, curate, 10, 210)


@pytest.mark.parametrize('source', ['shards', 'file'])
def test_memory_holds_no_images_of_groups_on_disk(
  tmp_path, monkeypatch, source
):
  images, size = 16, 256
  monkeypatch.setattr(disk_arrays, 'MOST_BYTES', 4 * images * size)
  monkeypatch.setattr(npz_files, '_BYTES', 2**14)
  stores = {}
  for count in (10, 110):
    folder = tmp_path / str(count)
    store, codes = write_shards(folder, [5] * (count // 5), (images, size))
    candidates = gathering.read_shards(store)[1]
    candidate_files.write_candidates(folder, codes[:, 0], candidates)
    stores[count] = store, codes

  def join(count):
    store, codes = stores[count]
    candidates = candidate_files.read_candidates(store.folder)
    if source == 'shards':
      candidates = gathering.read_shards(store)[1]
    names = [f'{n:06d}' for n in range(count)]
    groups = candidate_groups.join_groups(
      names,
      names,
      codes[:, 0],
      candidates,
      objective_config.ObjectiveConfig(method='grpo', masks=1),
    )
    for group, expected in zip(groups, codes, strict=True):
      np.testing.assert_array_equal(group['images'], expected)
    return groups

  memory_growth.check_below(4 * images * size / 2, join)
