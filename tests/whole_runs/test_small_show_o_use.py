"""Jobs that use the trained small Show-o, and its official layout."""

import json
import pathlib

import numpy as np
from PIL import Image
import pytest
import small_walk

from conversions.files import source
from conversions.files import tensors
from hermesflow_jax.sequences import text_similarity

pytestmark = pytest.mark.optimized


def test_the_trained_model_draws_png_files(generated, played):
  rows = small_walk.lines(generated / 'images.jsonl')
  assert len(rows) == 4
  for row in rows:
    with Image.open(generated / row['file']) as image:
      assert (image.format, image.mode) == ('PNG', 'RGB')
      assert image.size == (played.pixels,) * 2
      assert len(image.getcolors(2**24)) > 100


@pytest.mark.parametrize('form', ['free', 'choices'])
def test_the_trained_model_answers_questions(played, form):
  choices = (
    [f'--config.choices={small_walk.CHOICES!r}'] if form == 'choices' else []
  )
  # A free reply to a question has the program of a caption.
  questions = small_walk.QUESTIONS[: 2 if choices else 1]
  played.job(
    'understand',
    '--config.init_from=runs/pair_dpo',
    "--config.images=('small/data/images/b*.jpg',)",
    f'--config.questions={questions!r}',
    f'--workdir=runs/{form}',
    *choices,
  )
  rows = small_walk.lines(played.folder / 'runs' / form / 'answers.jsonl')
  assert [pathlib.Path(row['image']).name for row in rows] == [
    'bench.jpg',
    'bridge.jpg',
  ]
  for row in rows:
    assert row['caption']
    assert tuple(row['answers']) == questions
    for answer in row['answers'].values():
      assert answer in small_walk.CHOICES if form == 'choices' else answer


def test_curation_writes_pairs_of_each_input(curated, played):
  manifest = json.loads((curated / 'manifest.json').read_text())
  assert manifest['inputs'] == len(small_walk.RECORDS['inputs'])
  assert set(manifest['sha256']) > {'pairs.jsonl'}
  pairs = small_walk.lines(curated / 'pairs.jsonl')
  assert len(pairs) == len(small_walk.RECORDS['inputs'])
  with np.load(
    played.folder / 'runs' / 'pair_dpo' / 'round_1' / 'codes.npz'
  ) as file:
    np.testing.assert_array_equal(
      [pair['codes'] for pair in pairs], file['real']
    )


def test_curation_scores_captions_by_n_grams(curated):
  for pair in small_walk.lines(curated / 'pairs.jsonl'):
    scores = text_similarity.ngram_cosines(
      [pair['caption_win'], pair['caption_lose']], [pair['caption']] * 2
    )
    np.testing.assert_array_equal(
      scores, [pair['caption_score_win'], pair['caption_score_lose']]
    )


def test_a_learned_model_is_another_and_starts_fine_tuning(
  learned, tuned, played
):
  results = json.loads((learned / 'results.json').read_text())
  assert results['steps'] == small_walk.STEPS and results['inputs'] > 0
  trained = small_walk.arrays(
    played.folder / 'runs' / 'pair_dpo' / 'checkpoints' / '2'
  )
  for name, array in small_walk.arrays(learned / 'model').items():
    assert (array != trained[name]).any(), name
  settings = json.loads((tuned / 'settings.json').read_text())
  assert settings['init_from'] == 'runs/learn'


def test_fine_tuning_mixes_tasks_and_goes_on_after_a_stop(tuned):
  rows = small_walk.lines(tuned / 'training' / 'metrics.jsonl')
  assert [row['step'] for row in rows] == [1, 2]
  for row in rows:
    for name in ('loss/t2i', 'loss/mmu', 'loss/lm', 'train/grad_norm'):
      assert np.isfinite(row[name]) and row[name] > 0
  results = json.loads((tuned / 'results.json').read_text())
  assert results['examples'] == {'t2i': 6, 'mmu': 7, 'lm': 6}


def test_a_fine_tuned_model_is_another_and_starts_a_job(tuned, learned, played):
  before = small_walk.arrays(learned / 'model')
  for name, array in small_walk.arrays(tuned / 'model').items():
    assert array.dtype == np.float32 and (array != before[name]).any(), name
  played.job(
    'understand',
    '--config.init_from=runs/fine_tune',
    "--config.images=('small/data/images/b*.jpg',)",
    '--workdir=runs/of_tuned',
  )
  rows = small_walk.lines(played.folder / 'runs' / 'of_tuned' / 'answers.jsonl')
  assert len(rows) == 2 and all(row['caption'] for row in rows)


def test_the_reversed_model_has_the_official_names_and_shapes(returned, case):
  official = source.find(str(case.folder / 'small' / 'showo'))
  trained = source.find(str(returned))
  assert trained.tensors.keys() == official.tensors.keys()
  for name, tensor in trained.tensors.items():
    assert tensor.shape == official.tensors[name].shape
    assert tensor.dtype == tensors.FLOATS[0]
  for name, value in trained.config.items():
    if not name.startswith('_') and name in official.config:
      assert value == official.config[name]


def test_the_reversed_model_converts_to_the_trained_one(returned, played):
  played.convert('showo', str(returned), 'small/checkpoints/again')
  trained = small_walk.arrays(
    played.folder / 'runs' / 'pair_dpo' / 'checkpoints' / '2'
  )
  again = small_walk.arrays(played.folder / 'small' / 'checkpoints' / 'again')
  assert trained.keys() == again.keys()
  for name, array in trained.items():
    assert array.tobytes() == again[name].tobytes(), name
