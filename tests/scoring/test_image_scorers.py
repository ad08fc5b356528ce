"""Image scorers by name: by answers, by likelihood, by CLIP, by the user."""

import dataclasses

import jax
import numpy as np
import pytest
import small_unified
import text_encoders
import tiny

from hermesflow_jax.curation import candidate_generation
from hermesflow_jax.data import input_set
from hermesflow_jax.models import abstract_modules
from hermesflow_jax.models import showo
from hermesflow_jax.sampling import likelihoods
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import scored_images
from hermesflow_jax.scoring import caption_scorers
from hermesflow_jax.scoring import encoder_settings
from hermesflow_jax.scoring import image_scorers
from hermesflow_jax.scoring import text_encoder
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import text_to_image
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.training import log_likelihood

NAMES = list('abc')
CAPTIONS = ['red circle', 'two blue square', 'one green star']
IMAGES = 2
BUILT_IN = [n for n in image_scorers.SCALES if n != image_scorers.ANSWERS]


@pytest.fixture(scope='module')
def model():
  return tiny.show_o(jax.random.key(5))


@pytest.fixture(scope='module')
def unified(model):
  return small_unified.unified_on(model, chunk=6)


@pytest.fixture(scope='module')
def inputs():
  questions = [
    {'question': 'what color is the shape ?', 'choices': ['red', 'blue']},
    {'question': 'is the shape red ?', 'choices': ['yes', 'no']},
  ]
  rng = np.random.default_rng(0)
  return input_set.Inputs(
    ids=NAMES,
    captions=CAPTIONS,
    tags=[''] * 3,
    questions=[
      [q | {'answer': q['choices'][0]} for q in questions[: 1 + n % 2]]
      for n in range(3)
    ],
    codes=rng.integers(0, 16, (3, tiny.IMAGE_TOKENS)),
  )


@pytest.fixture(scope='module')
def codes():
  rng = np.random.default_rng(1)
  return rng.integers(0, 16, (3, IMAGES, tiny.IMAGE_TOKENS)).astype(np.int32)


def encoders_on(mesh):
  folder = str(text_encoders.converted('clip'))
  config = encoder_settings.EncoderSettings(clip=folder)
  return text_encoder.TextEncoders(config, mesh)


class Service:
  """A reward service: mean of the pixels times the letters of the caption."""

  def score(self, images, texts):
    return np.mean(images, axis=(1, 2, 3)) * list(map(len, texts)) / 10_000


def scores_of(name, unified, inputs, codes):
  scorer = image_scorers.make(name, encoders_on(unified.mesh), Service())
  scores, answers = scorer(unified, inputs, codes)
  assert scores.shape == (len(inputs), IMAGES) and scores.dtype == np.float64
  assert len(answers) == scores.size
  return scores


@pytest.mark.parametrize('name', BUILT_IN)
def test_a_score_depends_on_the_image_and_its_input_alone(
  name, model, unified, inputs, codes
):
  scores = scores_of(name, unified, inputs, codes)
  assert len(np.unique(scores)) == scores.size
  part = scores_of(name, unified, inputs.part(slice(1, 3)), codes[1:])
  wide = small_unified.unified_on(model, (4, 1), chunk=24)
  spread = scores_of(name, wide, inputs, codes)
  # Questions are grouped by their number, which changes the shape of a call.
  tolerance = 1e-6 if name == 'soft' else 0
  np.testing.assert_allclose(part, scores[1:], rtol=0, atol=tolerance)
  np.testing.assert_allclose(spread, scores, rtol=0, atol=tolerance)


def test_soft_scores_are_probabilities_of_right_answers(unified, inputs, codes):
  flat = codes.reshape(-1, tiny.IMAGE_TOKENS)
  questions = [q for q in inputs.questions for _ in range(IMAGES)]
  by_image = unified.answerer.probabilities(flat, questions)
  for rows in by_image:
    for shares in rows:
      assert sum(shares.values()) == pytest.approx(1)
  scorer = image_scorers.make('soft', None)
  scores, answers = scorer(unified, inputs, codes)
  assert answers == unified.answer(flat, questions)
  assert scores[1, 0] == pytest.approx(
    (by_image[2][0]['red'] + by_image[2][1]['yes']) / 2
  )


def test_the_likelihood_of_a_caption_is_that_of_training_rows(unified, codes):
  flat = codes[:, 0]
  prompt, *_ = unified.text.encode(
    [text_tokenizer.user_turn(unified.caption_prompt)]
  )
  rows = image_to_text.mmu_rows(
    unified.vocab,
    flat,
    [prompt] * 3,
    unified.text.encode_replies(CAPTIONS),
    tiny.LENGTHS.mmu,
  )
  logps, labels = log_likelihood.text_logps(
    unified.model, rows, tiny.LENGTHS.reply
  )
  expected = logps.sum(-1) / log_likelihood.label_counts(labels)
  np.testing.assert_allclose(
    likelihoods.caption_logps(unified, flat, CAPTIONS), expected, atol=1e-5
  )


def test_the_likelihood_of_an_image_is_that_of_training_rows(
  unified, codes, monkeypatch
):
  """One mask hides all codes, so the expected value needs no random mask."""
  flat = codes[:, 0]
  monkeypatch.setattr(
    likelihoods.mask_schedules,
    'draw_mask',
    lambda key, count, schedule: np.ones(count, bool),
  )
  likelihoods._mean_code_logps.clear_cache()
  rows = text_to_image.t2i_rows(
    unified.vocab, unified.text.encode(CAPTIONS), flat, tiny.LENGTHS.max_text
  )
  masked = np.ones((3, tiny.IMAGE_TOKENS), bool)
  logps, _ = log_likelihood.image_logps(unified.model, rows, masked)
  np.testing.assert_allclose(
    likelihoods.image_logps(unified, NAMES, flat, CAPTIONS),
    logps[:, 1:-1].mean(-1),
    atol=1e-5,
  )
  likelihoods._mean_code_logps.clear_cache()


@pytest.mark.parametrize('name', caption_scorers.IMAGE_SCORERS)
def test_captions_are_scored_against_the_image(name, unified, codes):
  scorer = caption_scorers.make(name, encoders_on(unified.mesh), Service())
  flat = codes[:, 0]

  def score(captions, order=slice(None)):
    images = scored_images.ScoredImages(
      unified, np.array(NAMES)[order].tolist(), flat[order]
    )
    return scored_images.score_captions(scorer, captions, CAPTIONS, images)

  scores = score(CAPTIONS)
  assert scores.shape == (3,) and (scores > -1).all() and (scores <= 1).all()
  # References do not matter, other captions and images do.
  assert (score(CAPTIONS[1:] + CAPTIONS[:1]) != scores).all()
  np.testing.assert_array_equal(
    score(CAPTIONS[::-1], slice(None, None, -1)), scores[::-1]
  )


def write(tmp_path, monkeypatch, text):
  monkeypatch.chdir(tmp_path)
  name = f'image_user_{abs(hash((text, str(tmp_path))))}'
  (tmp_path / f'{name}.py').write_text(text)
  return f'{name}:scorer'


@pytest.mark.parametrize(
  'reads, shape', [('pixels', '(8, 8, 3)'), ('codes', '(4,)')]
)
def test_a_scorer_of_the_user_gets_images_captions_and_questions(
  unified, inputs, codes, tmp_path, monkeypatch, reads, shape
):
  path = write(
    tmp_path,
    monkeypatch,
    'def scorer(images, captions, questions):\n'
    f'  assert images.shape[2:] == {shape}\n'
    '  return [[len(c), len(q)] for c, q in zip(captions, questions)]\n'
    f'scorer.reads = {reads!r}\n',
  )
  scores = scores_of(path, unified, inputs, codes)
  expected = [[len(c), len(q)] for c, q in zip(CAPTIONS, inputs.questions)]
  np.testing.assert_array_equal(scores, expected)


@pytest.mark.parametrize(
  'result, message',
  [
    ('[[0.0, float("nan")]] * 3', r'finite values, got nan'),
    ('[0.0] * 3', r'must return float\[3, 2\], got shape \(3,\)'),
    ('1 / 0', 'got ZeroDivisionError'),
  ],
)
def test_what_is_no_score_is_refused(
  unified, inputs, codes, tmp_path, monkeypatch, result, message
):
  path = write(
    tmp_path, monkeypatch, f'def scorer(*images):\n  return {result}\n'
  )
  scorer = image_scorers.make(path, None)
  with pytest.raises(ValueError, match=message) as error:
    scorer(unified, inputs, codes)
  assert '\n' not in str(error.value)


def test_an_unknown_scorer_is_refused():
  with pytest.raises(ValueError, match='image_scorer must be one of answers'):
    image_scorers.check_name('vqa')


@pytest.mark.parametrize(
  'name, least', [('caption_likelihood', 0.0), ('clip', 1.0), ('soft', 1.0)]
)
def test_a_threshold_that_no_image_can_exceed_is_refused(name, least):
  image_scorers.check_rules(name, None)
  image_scorers.check_rules(name, least - 0.1)
  image_scorers.check_rules('mine:scorer', least)
  with pytest.raises(ValueError, match='rules.least_score must be less than'):
    image_scorers.check_rules(name, least)


def test_candidates_have_the_scores_of_the_scorer(unified, inputs):
  config = candidate_generation.CandidateConfig(
    maskgit.MaskGITSampler(2, 0.0),
    IMAGES,
    small_unified.SAMPLERS[:2],
    caption_scorers.LikelihoodScorer(),
    0,
    image_scorers.score_by_caption,
  )
  made = candidate_generation.make_candidates(unified, inputs, config)
  expected, _ = image_scorers.score_by_caption(unified, inputs, made.codes)
  np.testing.assert_array_equal(made.image_scores, expected)
  assert made.answers == [[[], []]] * 3
  assert made.caption_scores.shape == (3, 2)
  assert (made.caption_scores > 0).all()


def test_in_bfloat16_likelihoods_are_near(unified, codes):
  abstract = abstract_modules.abstract_module(
    showo.ShowO, tiny.sizes(dtype='bfloat16')
  )
  low = jax.tree.unflatten(
    jax.tree.structure(abstract), jax.tree.leaves(unified.model)
  )
  low = dataclasses.replace(unified, model=low)
  flat = codes[:, 0]
  for logps in (
    lambda unified: likelihoods.caption_logps(unified, flat, CAPTIONS),
    lambda unified: likelihoods.image_logps(unified, NAMES, flat, CAPTIONS),
  ):
    # bfloat16 has 8 bits; logits reach 4.
    np.testing.assert_allclose(logps(low), logps(unified), atol=0.05)
