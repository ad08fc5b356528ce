"""Jobs feed the CLIP variant with features of pixels."""

import dataclasses
import inspect
import json
import types

import clip_variant
import file_runs
import jax
import numpy as np
import pytest
import shared_folders
import simple_samplers
import tiny_world
import torch_weights

from conversions import convert
from hermesflow_jax.curation import pair_dataset
from hermesflow_jax.data import image_reader
from hermesflow_jax.jobs import curate
from hermesflow_jax.jobs import generate
from hermesflow_jax.jobs import learn
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs import understand
from hermesflow_jax.jobs.setup import pair_source
from hermesflow_jax.jobs.setup import vision_tower
from hermesflow_jax.judging import judge_settings
from hermesflow_jax.judging import model_judge
from hermesflow_jax.pair_dpo import learning
from hermesflow_jax.pair_dpo import official_defects
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import batched

SIDE = torch_weights.CLIP.image


@pytest.fixture(scope='session')
def variant(tmp_path_factory):
  """The folder of a model, a judge and their tower."""
  return shared_folders.make_once(
    tmp_path_factory, 'clip_variant_of_jobs', clip_variant.write
  )


@pytest.fixture(autouse=True)
def quick(monkeypatch):
  """Jobs sample by functions."""
  simple_samplers.use(monkeypatch)


@pytest.fixture
def read(monkeypatch):
  """The pixels that captions are written of, as bytes."""
  seen, write = set(), batched.write_replies

  def write_replies(model, keys, images, *others, **options):
    seen.update(image.tobytes() for image in np.asarray(images.pixels))
    return write(model, keys, images, *others, **options)

  monkeypatch.setattr(batched, 'write_replies', write_replies)
  return seen


@pytest.fixture
def taught(monkeypatch):
  """Records and images of rounds of learning, which shift the weights."""
  calls = []

  signature = inspect.signature(learning.learn_round)

  def learn_round(*values):
    arguments = signature.bind(*values).arguments
    unified = arguments['unified']
    calls.append((arguments['records'], arguments['images']))
    return jax.tree.map(lambda a: a * 1.01, unified.model)

  monkeypatch.setattr(learning, 'learn_round', learn_round)
  return calls


def pixels_of(folder, split, names):
  """Pixels of pictures as the tower reads them."""
  return {
    name: image_reader.load_image(folder / f'{split}-{name}.png', SIDE)
    for name in names
  }


def test_a_curation_teaches_a_model_that_all_jobs_read(
  variant, tmp_path, monkeypatch, read, taught
):
  """The path of a user, with functions in place of samplers and steps."""
  said = []
  console = dataclasses.replace(terminal.silent(), say=said.append)
  pictures = tmp_path / 'pictures'
  pictures.mkdir()
  curate.run(
    clip_variant.curation(variant, pictures), str(tmp_path / 'pairs'), console
  )
  expected = pixels_of(pictures, 'preference', range(6))
  assert read == {image.tobytes() for image in expected.values()}
  # Pairs keep the pixels, so that other machines learn from them.
  learn.run(
    clip_variant.learning(variant, tmp_path / 'pairs'),
    str(tmp_path / 'learn'),
    console,
  )
  ((records, images),) = taught
  assert len(records) > 1
  for record, image in zip(records, np.asarray(images), strict=True):
    number = int(record['id'].rpartition('-')[2])
    np.testing.assert_array_equal(image, expected[number])
  # The model that it leaves reads pixels, and draws without a tower.
  read.clear()
  rows = understand.run(
    clip_variant.understanding(
      tmp_path / 'learn', str(variant / 'tower'), pictures
    ),
    str(tmp_path / 'understand'),
    console,
  )
  assert len(rows) == 6 and len(read) == 6
  generate.run(
    clip_variant.drawing(tmp_path / 'learn'), str(tmp_path / 'images'), console
  )
  assert any('draws without its CLIP tower' in line for line in said)
  # Official weights again, with the projector.
  command = ['showo', str(tmp_path / 'learn'), str(tmp_path / 'official')]
  assert convert.main([*command, '--reverse'], terminal.silent()) == 0
  record = json.loads((tmp_path / 'official' / 'config.json').read_text())
  assert record['w_clip_vit']


def test_rounds_read_pixels_and_another_model_judges_by_its_tower(
  variant, tmp_path, read, taught
):
  config = clip_variant.self_play(variant, tmp_path)
  judge = judge_settings.JudgeSettings(
    kind='model',
    init_from=str(variant / 'judge'),
    vision=str(variant / 'tower'),
  )
  config = dataclasses.replace(config, judge=judge)
  results, _ = file_runs.run_and_hear(config, tmp_path / 'run')
  for split, count in (('preference', 6), ('eval', 4)):
    expected = pixels_of(tmp_path, split, range(count))
    assert {image.tobytes() for image in expected.values()} <= read
  assert [row['judge'] for row in results['rounds']] == [
    f'model {variant / "judge"}'
  ] * 2
  assert 'own_score' in results['rounds'][0]
  ((records, images),) = taught
  assert len(images) == len(records)
  # The next job starts from the round.
  understand.run(
    clip_variant.understanding(
      tmp_path / 'run', str(variant / 'tower'), tmp_path / 'eval-0.png'
    ),
    str(tmp_path / 'understand'),
    terminal.silent(),
  )


def test_a_judge_reads_pixels_of_codes_that_are_not_its_own(
  variant, monkeypatch
):
  """A judge with another image tokenizer gets decoded images."""
  images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
  answered = []
  judge = model_judge.make(
    _Reads(vision=object(), answered=answered), lambda codes: images, False
  )
  assert judge(np.zeros((2, 4), np.int32), [[], []]) == [[], []]
  np.testing.assert_array_equal(answered[0], images)


@dataclasses.dataclass
class _Reads:
  """A model that keeps the images that it is asked about."""

  vision: object
  answered: list

  def answer(self, images, questions):
    self.answered.append(images)
    return [[] for _ in questions]


def test_official_files_teach_pixels(variant, tmp_path, taught):
  pictures = tmp_path / 'pictures'
  pictures.mkdir()
  tiny_world.files(pictures, 'eval', 4)
  row = {
    'id': 'a',
    'img_path': 'eval-0.png',
    'caption': 'a red ring',
    'caption_win': 'a ring',
    'caption_lose': 'two cups',
    'bert_score_win': 1.0,
    'bert_score_lose': 0.0,
    'image_win': 'eval-1.png',
    'image_lose': 'eval-2.png',
    'vqa_score_win': 1.0,
    'vqa_score_lose': 0.0,
  }
  (pictures / 'pairs.json').write_text(json.dumps([row]))
  config = clip_variant.learning(variant, pictures / 'pairs.json')
  learn.run(config, str(tmp_path / 'learn'), terminal.silent())
  ((_, images),) = taught
  expected = pixels_of(pictures, 'eval', [0])[0]
  np.testing.assert_array_equal(np.asarray(images)[0], expected)


def test_pairs_without_images_teach_no_model_that_reads_pixels(
  variant, tmp_path
):
  """A model that reads codes made these pairs."""
  texts = dict.fromkeys(pair_dataset.TEXTS, 'a')
  codes = {name: [0, 1] for name in pair_dataset.CODES}
  scores = dict.fromkeys(pair_dataset.SCORES, 0.0)
  pair_dataset.write_dataset(
    str(tmp_path / 'tfds'), [texts | codes | scores], image_tokens=2
  )
  source = pair_source.PairSource(tmp_path, tmp_path, {})
  config = clip_variant.learning(variant, tmp_path)
  message = f'pairs must hold images .* got {tmp_path} without: curate again'
  with pytest.raises(ValueError, match=message):
    pair_source.read_pairs(
      config,
      source,
      types.SimpleNamespace(vision=object()),
      tmp_path,
      terminal.silent(),
    )


@pytest.mark.parametrize(
  'vision, message',
  [
    ('', "vision must be .*got ''; run `python -m conversions.convert clip_"),
    ('nowhere', "vision must be the CLIP tower of .*'nowhere'"),
  ],
)
def test_a_missing_tower_is_named_with_its_command(
  variant, tmp_path, vision, message
):
  understanding = clip_variant.understanding(
    variant / 'model', vision, tmp_path
  )
  config = clip_variant.self_play(variant, tmp_path)
  judge = judge_settings.JudgeSettings(
    kind='model', init_from=str(variant / 'judge'), vision=vision
  )
  for job, config, setting in (
    (understand, understanding, ''),
    (pair_dpo, dataclasses.replace(config, vision=vision), ''),
    (pair_dpo, dataclasses.replace(config, judge=judge), 'judge.'),
  ):
    with pytest.raises(ValueError, match=f'^{setting}{message}') as error:
      job.run(config, str(tmp_path / 'run'), terminal.silent())
    assert f'--config.{setting}vision=' in str(error.value)
  assert not (tmp_path / 'run').exists()


def test_a_tower_that_does_not_fit_is_refused(variant, tmp_path):
  config = clip_variant.understanding(
    variant / 'model', str(variant / 'tower'), tmp_path
  )
  for width, message in (
    (0, "vision must be '' for"),
    (8, 'must have width 8'),
  ):
    model = dataclasses.replace(torch_weights.WITH_CLIP, clip_width=width)
    with pytest.raises(ValueError, match=message):
      vision_tower.check(config, 'model', model)


def test_defects_that_rows_of_features_cannot_have_are_refused(variant):
  config = clip_variant.learning(variant, 'pairs')
  compat = official_defects.OfficialDefects(other_prompt=True)
  with pytest.raises(ValueError, match='compat.other_prompt must be False'):
    dataclasses.replace(config, compat=compat)
