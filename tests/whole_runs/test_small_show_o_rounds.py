"""Self-play on the small Show-o: codes, pairs, metrics and weights."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from PIL import ImageOps
import pytest
import small_judge
import small_records
import small_walk

from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.judging import question_prompts
from hermesflow_jax.runtime import sharding
from hermesflow_jax.scoring import caption_scorers
from hermesflow_jax.scoring import choice_matchers
from hermesflow_jax.scoring import encoder_settings
from hermesflow_jax.scoring import text_encoder

pytestmark = pytest.mark.optimized

# A latent this near to 0 may fall on either side: sums have another order.
LATENT_ERROR = 1e-3
PROMPT = question_prompts.PROMPT


def square(image: Image.Image, size: int) -> Image.Image:
  """Returns torchvision's Resize (bicubic) and CenterCrop of an image."""
  width, height = image.size
  short, long = min(width, height), max(width, height)
  long = int(size * long / short)
  resized = (size, long) if width <= height else (long, size)
  image = image.resize(resized, Image.Resampling.BICUBIC)
  left, top = (int(round((side - size) / 2.0)) for side in resized)
  return image.crop((left, top, left + size, top + size))


def upright(path: pathlib.Path) -> Image.Image:
  """Returns an image as a viewer shows it, on white where it is clear."""
  image = ImageOps.exif_transpose(Image.open(path))
  if image.mode == 'RGBA':
    white = Image.new('RGBA', image.size, 'white')
    image = Image.alpha_composite(white, image)
  return image.convert('RGB')


def test_images_have_the_sizes_of_coco_and_journeydb(case):
  for record in sum(small_records.splits().values(), []):
    path = case.folder / 'small' / 'data' / 'images' / record.file
    assert upright(path).size == record.size


def test_codes_of_images_are_those_of_torchvisions_pixels(played):
  records = sorted(small_walk.RECORDS['inputs'], key=lambda record: record.name)
  pixels = np.stack(
    [
      square(
        upright(played.folder / 'small/data/images' / record.file),
        played.pixels,
      )
      for record in records
    ]
  )
  tokenizer = initial_model.open(
    played.folder / 'small' / 'checkpoints' / 'magvitv2'
  ).load_tokenizer(None)
  encode = jax.jit(lambda model, x: model.encode(x))
  latents = np.concatenate(
    [
      np.asarray(encode(tokenizer, image[None] / np.float32(127.5) - 1))
      for image in pixels
    ]
  ).reshape(len(records), played.codes, -1)
  with np.load(
    played.folder / 'runs' / 'pair_dpo' / 'round_1' / 'codes.npz'
  ) as file:
    codes = file['real']
  bits = codes[..., None] >> np.arange(13)[::-1] & 1
  certain = np.abs(latents) > LATENT_ERROR
  assert certain.mean() > 0.98
  np.testing.assert_array_equal(bits[certain], (latents > 0)[certain])
  # The tokenizer tells images and patches apart.
  assert all(len(np.unique(row)) > 10 for row in codes)


@pytest.mark.parametrize('number', [1, 2])
def test_pairs_hold_codes_and_captions_of_the_vocabulary(played, number):
  folder = played.folder / 'runs' / 'pair_dpo' / f'round_{number}'
  pairs = small_walk.lines(folder / 'pairs.jsonl')
  assert [pair['id'] for pair in pairs] == sorted(
    record.name for record in small_walk.RECORDS['inputs']
  )
  for pair in pairs:
    for name in ('codes_win', 'codes_lose'):
      assert len(pair[name]) == played.codes
      assert 0 <= min(pair[name]) <= max(pair[name]) < 8_192
    for name in ('caption_win', 'caption_lose'):
      (tokens,) = played.text.encode([pair[name]])
      assert played.text.decode(tokens) == pair[name]
      assert tokens and max(tokens) < 50_295
  for kind in ('caption', 'image'):
    assert any(not pair[f'{kind}_dropped'] for pair in pairs)


def test_answers_about_candidates_are_among_the_choices(played):
  choices = {
    record.name: [question['choices'] for question in record.questions]
    for record in small_walk.RECORDS['inputs']
  }
  path = played.folder / 'runs/pair_dpo/round_1/candidates/000000.jsonl'
  for row in small_walk.lines(path):
    assert len(row['answers']) == small_walk.IMAGES
    for answers in row['answers']:
      for answer, options in zip(answers, choices[row['id']], strict=True):
        assert answer in options


@pytest.fixture(scope='module')
def encoders(played) -> text_encoder.TextEncoders:
  """The encoders of the run, on 8 devices; the run had one."""
  checkpoints = played.folder / 'small' / 'checkpoints'
  config = encoder_settings.EncoderSettings(
    bert=str(checkpoints / 'bert'), sentence=str(checkpoints / 'mpnet')
  )
  mesh = sharding.mesh_from_devices(jax.devices(), data=8, model=1)
  return text_encoder.TextEncoders(config, mesh)


def test_bert_scores_captions_alike_on_8_devices(played, encoders):
  path = played.folder / 'runs/pair_dpo/round_1/candidates/000000.jsonl'
  rows = small_walk.lines(path)
  captions = [caption for row in rows for caption in row['captions']]
  references = [row['caption'] for row in rows for _ in row['captions']]
  scores = caption_scorers.make('bert', encoders)(captions, references)
  np.testing.assert_array_equal(
    scores, np.concatenate([row['caption_scores'] for row in rows])
  )
  assert np.isfinite(scores).all() and len(set(scores)) > len(rows)


def test_mpnet_matches_replies_of_the_judge_alike_on_8_devices(
  played, encoders
):
  match = choice_matchers.make('sentence', encoders)
  questions = {
    record.name: record.questions for record in small_walk.RECORDS['held_out']
  }
  for number in range(3):
    path = played.folder / 'runs' / 'pair_dpo' / f'round_{number}'
    for row in small_walk.lines(path / 'scenes.jsonl'):
      choices = [question['choices'] for question in questions[row['id']]]
      replies = [
        small_judge.reply(question_prompts.write(PROMPT, [question]))
        for question in questions[row['id']]
      ]
      places = match(replies, choices)
      assert row['judged'] == [c[n] for c, n in zip(choices, places)]
      assert row['judged'] == [reply.rstrip('!') for reply in replies]


def test_the_results_name_the_judge_and_its_prompt(played):
  folder = played.folder / 'runs' / 'pair_dpo'
  results = json.loads((folder / 'results.json').read_text())
  judge = results['judge']
  assert (judge['name'], judge['prompt']) == (small_judge.MODEL, PROMPT)
  assert {row['judge'] for row in results['rounds']} == {small_judge.MODEL}
  used = judge['usage']
  assert used['questions'] == used['requests'] and not used['unmatched']


def test_a_run_that_resumes_asks_only_for_the_missing_answers(played):
  counts = json.loads((played.folder / small_judge.COUNTS).read_text())
  probe, fault = 1, 1
  first, second = counts['requests']
  assert first == probe + small_judge.REPLIES + fault
  # The request that failed is repeated, as is the probe of each start.
  assert first + second == counts['distinct'] + fault + probe
  assert second > small_judge.REPLIES


def test_a_run_that_resumes_has_the_pairs_of_before_the_stop(played):
  pairs = played.folder / 'runs' / 'pair_dpo' / 'round_1' / 'pairs.jsonl'
  first = played.folder / small_judge.FIRST_PAIRS
  assert pairs.read_bytes() == first.read_bytes()


def test_the_run_tells_the_results_of_all_rounds(played):
  folder = played.folder / 'runs' / 'pair_dpo'
  results = json.loads((folder / 'results.json').read_text())
  assert [row['round'] for row in results['rounds']] == [0, 1, 2]
  for row in results['rounds']:
    for name in ('understanding', 'generation'):
      assert 0 <= row[name] <= 1
  assert (folder / 'report.html').read_text().rstrip().endswith('</html>')


def test_a_round_writes_finite_metrics_of_each_step(played):
  for number in (1, 2):
    folder = played.folder / 'runs' / 'pair_dpo' / f'round_{number}'
    metrics = small_walk.lines(folder / 'training' / 'metrics.jsonl')
    assert [row['step'] for row in metrics] == list(
      range(1, small_walk.STEPS + 1)
    )
    for row in metrics:
      assert np.isfinite(row['train/loss']) and row['train/skipped'] == 0


def test_a_round_writes_images_and_captions_while_it_learns(played):
  for number in (1, 2):
    folder = played.folder / 'runs' / 'pair_dpo' / f'round_{number}'
    name = f'{small_walk.STEPS:06d}'
    rows = small_walk.lines(folder / 'samples' / f'{name}.jsonl')
    assert {row['id'] for row in rows} == {
      record.name for record in small_walk.RECORDS['inputs']
    }
    assert all(row['written'] for row in rows)
    with Image.open(folder / 'samples' / f'{name}.png') as sheet:
      # A real image beside a drawn one.
      assert sheet.width > 2 * played.pixels and sheet.height > played.pixels


def test_trained_weights_are_float32_and_differ_from_the_base(played):
  base = small_walk.arrays(played.base)
  before = base
  for number in ('1', '2'):
    path = played.folder / 'runs' / 'pair_dpo' / 'checkpoints' / number
    trained = small_walk.arrays(path)
    assert trained.keys() == base.keys()
    for name, array in trained.items():
      assert array.dtype == np.float32 and np.isfinite(array).all()
      assert (array != before[name]).any(), name
      rounded = array.astype(jnp.bfloat16).astype(np.float32)
      assert (array != rounded).any(), name
    before = trained
