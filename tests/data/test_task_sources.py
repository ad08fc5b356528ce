"""Data sets of the training tasks: mixtures, texts, faults."""

import itertools

import data_forms
import numpy as np
import pytest

from hermesflow_jax.data import pipeline
from hermesflow_jax.data import task_sources


def names(mixture, count, start=0, seed=3):
  batches = pipeline.host_batches(
    mixture,
    lambda record, rng: (np.int64(record), np.float64(rng.random())),
    seed=seed,
    batch=4,
    start=start,
    process=0,
    processes=1,
  )
  return [batch for batch in itertools.islice(batches, count)]


def test_sets_are_mixed_exactly_by_their_weights():
  mixture = pipeline.Mixture((range(5), range(100, 200)), (1.0, 3.0))
  ids = np.concatenate([batch[0] for batch in names(mixture, 25)])
  for count in (4, 40, 100):
    assert (ids[:count] < 100).sum() == count // 4
  # Every set has its own epochs.
  assert sorted(ids[ids < 100][:5]) == list(range(5))


def test_a_mixture_resumes_where_it_was():
  mixture = pipeline.Mixture((range(5), range(100, 200)), (1.0, 3.0))
  for actual, expected in zip(
    names(mixture, 2, start=5), names(mixture, 7)[5:], strict=True
  ):
    for a, b in zip(actual, expected, strict=True):
      np.testing.assert_array_equal(a, b)


def test_a_set_alone_is_read_as_before():
  mixture = pipeline.Mixture((range(10),), (2.0,))
  ids = np.concatenate([batch[0] for batch in names(mixture, 5)])
  assert sorted(ids[:10]) == list(range(10)) == sorted(ids[10:])


def test_image_sets_of_different_forms_are_opened(tmp_path):
  sets = []
  for name in ('llava', 'coco'):
    (tmp_path / name).mkdir()
    source = getattr(data_forms, name)(tmp_path / name)
    sets.append(
      task_sources.ImageSet(source.annotations, source.images, weight=2.0)
    )
  mixture = task_sources.open_images('mmu', sets, lambda line: None)
  assert mixture.weights == (2.0, 2.0)
  assert mixture.sources[0][0]['turns'][1] == ('Is it red?', 'No')
  assert mixture.sources[1][0]['caption'] in data_forms.CAPTIONS
  assert mixture.sources[0][0]['on_error'] == 'raise'
  hashes = task_sources.content_hashes({'mmu': sets})
  assert hashes.keys() == {'mmu[0]', 'mmu[1]'}
  assert len(set(hashes.values())) == 2


def test_a_set_that_is_not_named_is_refused():
  with pytest.raises(ValueError, match=r't2i\[0\].annotations must be a file'):
    task_sources.open_images(
      't2i', [task_sources.ImageSet('')], lambda line: None
    )
  with pytest.raises(ValueError, match='t2i must have a data set, got none'):
    task_sources.open_images('t2i', [], lambda line: None)


def test_the_faults_of_all_sets_are_named(tmp_path):
  (tmp_path / 'a.jsonl').write_text('{"text": "a"}\n{"text": 3}\n')
  (tmp_path / 'b.jsonl').write_text('{"text": "a"}\n{\n')
  sets = [
    task_sources.TextSet(str(tmp_path / f'{name}.jsonl')) for name in 'ab'
  ] + [task_sources.TextSet('')]
  with pytest.raises(ValueError) as error:
    task_sources.open_texts(sets)
  for fault in (
    "a.jsonl: line 2: text must be a text, got '3'; name the field",
    'b.jsonl: line 2: Expecting property name',
    "'on_error': 'skip' in its set leaves them out",
    'lm[2].annotations must be a file',
  ):
    assert fault in str(error.value)
  sets = [task_sources.TextSet(s.annotations, on_error='skip') for s in sets]
  lines = []
  mixture = task_sources.open_texts(sets[:2], lines.append)
  assert [len(source) for source in mixture.sources] == [1, 1]
  assert lines[0].endswith('a.jsonl: 1 of 2 left out:')
  assert lines[1] == "  line 2: text must be a text, got '3'"
  image_sets = [task_sources.ImageSet(s.annotations) for s in sets[:2]]
  with pytest.raises(ValueError, match=r'a.jsonl: .*; .*b.jsonl: '):
    task_sources.open_images('t2i', image_sets, lines.append)
