"""Data sets of the training tasks: mixtures, texts, faults."""

import itertools
import json

import data_forms
import numpy as np
import pytest

from hermesflow_jax.data import pipeline
from hermesflow_jax.data import task_sources
from hermesflow_jax.data.sources import text_rows


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


def texts(path, field='text'):
  source = text_rows.Texts(str(path), field)
  return [source[n]['text'] for n in range(len(source))]


def test_texts_are_paragraphs_files_or_fields(tmp_path):
  file = tmp_path / 'a.txt'
  file.write_text('\n\na red bench\nin the rain\n\n\n早い\n', encoding='utf-8')
  assert texts(file) == ['a red bench\nin the rain', '早い']
  folder = tmp_path / 'folder'
  folder.mkdir()
  (folder / 'b.txt').write_text('two\n\nparts')
  (folder / 'a.txt').write_text('one')
  assert texts(folder) == ['one', 'two\n\nparts']
  table = tmp_path / 'a.csv'
  table.write_text('text,n\n"a, b",1\nc,2\n')
  assert texts(table) == ['a, b', 'c']
  lines = tmp_path / 'a.jsonl'
  lines.write_text('{"body": {"de": "x"}}\n{"body": {"de": "y"}}\n')
  assert texts(lines, 'body/de') == ['x', 'y']
  turns = tmp_path / 'llava.json'
  turns.write_text(json.dumps([data_forms.llava_record(0)]))
  assert texts(turns)[0].splitlines()[:2] == ['Describe it.', 'a red ring']


@pytest.mark.parametrize(
  'content, error',
  [
    ('{"body": "x"}\n', "text must be a text, got 'None'; name the field"),
    ('', 'must hold texts, got none'),
  ],
)
def test_records_without_texts_are_refused(tmp_path, content, error):
  (tmp_path / 'a.jsonl').write_text(content)
  with pytest.raises(ValueError, match=error):
    text_rows.Texts(str(tmp_path / 'a.jsonl'))
