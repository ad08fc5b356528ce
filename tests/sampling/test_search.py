"""Search chooses among the images that draw draws, at the passes it counts."""

import dataclasses

import numpy as np
import pytest
import small_unified
import tiny

from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import image_steps
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import search
from hermesflow_jax.sampling import search_scores
from hermesflow_jax.sampling import search_settings

NAMES, CAPTIONS = small_unified.NAMES[:8], small_unified.CAPTIONS[:8]
QUESTIONS = [[{'question': 'q', 'answer': 'a'}] * 3] * 8
STAGES = (search_settings.Stage(1, 0.5),)
THINNED = search_settings.Search(4, 'likelihood', STAGES)
SEED = 3


def searched(unified, settings, images=1, some=slice(None), **more):
  """Returns (codes [N, M, I], passes [N, M])."""
  return search.draw(
    unified,
    NAMES[some],
    CAPTIONS[some],
    images,
    small_unified.SAMPLER,
    SEED,
    settings,
    QUESTIONS[some],
    **more,
  )


@pytest.fixture(scope='module')
def all_drawn(unified):
  return unified.draw(NAMES, CAPTIONS, 4, small_unified.SAMPLER, SEED)


@pytest.fixture(scope='module')
def thinned(unified):
  return searched(unified, THINNED)


@pytest.fixture
def hashed_scores(monkeypatch):
  """Scores drawings by their codes: thirds, with many ties."""
  calls = []

  def score(unified, name, codes, captions=None, questions=None):
    calls.append(len(codes))
    return np.asarray(codes).sum(-1) % 4 / 3

  monkeypatch.setattr(search_scores, 'score', score)
  return calls


def test_an_image_that_reaches_the_end_is_that_of_draw(thinned, all_drawn):
  codes, _ = thinned
  same = (codes == all_drawn).all(-1)
  assert same.any(1).all()
  # Not always the first of them.
  assert not same[:, 0].all()


def test_the_division_of_steps_changes_no_code(unified, all_drawn):
  keys = batched.identity_keys(SEED, [f'image/{n}' for n in NAMES], 4)
  steps = image_steps.prepare(unified, CAPTIONS, small_unified.SAMPLER)
  states, drafts = steps.draw_span(keys, None, (0, 1), maskgit.likeliest)
  done = states >= 0
  assert done.any() and not done.all() and drafts.min() >= 0
  np.testing.assert_array_equal(drafts[done], states[done])
  np.testing.assert_array_equal(all_drawn[done], states[done])


def test_meshes_chunks_and_company_change_no_choice(model, thinned):
  other = small_unified.unified_on(model, (8, 1), chunk=16)
  codes, passes = searched(other, THINNED, some=slice(2, 7))
  np.testing.assert_array_equal(codes, thinned[0][2:7])
  np.testing.assert_array_equal(passes, thinned[1][2:7])


def test_the_best_of_all_candidates_wins_and_the_first_of_equals(
  unified, all_drawn, hashed_scores
):
  codes, passes = searched(unified, search_settings.Search(4, 'answers'))
  scores = search_scores.score(None, '', all_drawn)
  expected = all_drawn[np.arange(8), scores.argmax(1)]
  np.testing.assert_array_equal(codes[:, 0], expected)
  # 3 steps, each of two passes, the first shared; 3 questions.
  assert (passes == 2 * (1 + 2 * 4) + 4 * 3).all()


def test_waves_that_end_at_the_highest_score_choose_the_same(
  unified, hashed_scores
):
  at_once = search_settings.Search(4, 'answers')
  in_waves = dataclasses.replace(at_once, wave=2, enough=1.0)
  expected, most = searched(unified, at_once)
  hashed_scores.clear()
  codes, passes = searched(unified, in_waves)
  np.testing.assert_array_equal(codes, expected)
  # A prompt that has enough is left out of later waves.
  assert hashed_scores[0] == 16 and sum(hashed_scores) < 4 * 8
  # A wave: three steps, each of two passes, the first shared; 3 questions.
  assert passes.sum() == sum(hashed_scores) // 2 * (2 * (1 + 2 * 2) + 2 * 3)
  assert most.sum() > passes.sum()


def test_images_of_a_caption_have_candidates_of_their_own(
  unified, all_drawn, hashed_scores
):
  codes, _ = searched(unified, search_settings.Search(2, 'soft'), images=2)
  scores = search_scores.score(None, '', all_drawn)
  for m in range(2):
    own = all_drawn[:, m::2]
    best = scores[:, m::2].argmax(1)
    np.testing.assert_array_equal(codes[:, m], own[np.arange(8), best])


def test_several_best_images_are_in_the_order_of_their_scores(
  unified, all_drawn, hashed_scores
):
  keys = batched.identity_keys(SEED, [f'image/{n}' for n in NAMES], 4)
  settings = search_settings.Search(wave=1)
  task = search.Task(unified, small_unified.SAMPLER, settings, CAPTIONS, keys)
  choice = search.choose(task, 2)
  order = np.argsort(
    -search_scores.score(None, '', all_drawn), axis=1, kind='stable'
  )
  np.testing.assert_array_equal(choice.numbers, order[:, :2])
  expected = all_drawn[np.arange(8)[:, None], order[:, :2]]
  np.testing.assert_array_equal(choice.codes, expected)


def test_known_codes_stay(unified, all_drawn, hashed_scores):
  start = all_drawn[:, :1]
  known = np.arange(tiny.IMAGE_TOKENS) < start * 0 + 2
  codes, passes = searched(unified, THINNED, codes=start, known=known)
  np.testing.assert_array_equal(codes[known], start[known])
  assert (codes != start).any()
  # Images that start from codes share no step.
  assert (passes == 2 * (4 + 2 * 2) + 4 + 2).all()


def test_without_search_images_are_those_of_draw(unified, all_drawn):
  codes, passes = searched(unified, search_settings.Search(), images=4)
  np.testing.assert_array_equal(codes, all_drawn)
  assert passes is None


@pytest.mark.parametrize(
  'settings, sampler, expected',
  [
    # Sixteen steps with guidance; all candidates share the first.
    (('likelihood', ()), (16, 0.5), 2 * (1 + 15 * 8) + 8),
    (('soft', ()), (16, 0.5), 2 * (1 + 15 * 8) + 8 * 3.5),
    (('likelihood', ()), (16, 0.0), 1 + 15 * 8 + 8),
    # Eight drafts after two steps, two after four, one to the end.
    (
      ('likelihood', ((2, 0.25), (4, 0.5))),
      (16, 0.5),
      2 * (1 + 8) + 8 + 2 * 2 * 2 + 2 + 2 * 12,
    ),
  ],
)
def test_passes_are_steps_with_guidance_and_scores(settings, sampler, expected):
  score, stages = settings
  stages = tuple(search_settings.Stage(*stage) for stage in stages)
  actual = search_settings.decoder_passes(
    search_settings.Search(8, score, stages),
    maskgit.MaskGITSampler(*sampler),
    8,
    3.5,
  )
  assert actual == expected


@pytest.mark.parametrize(
  'values, fault',
  [
    ({'candidates': 0}, 'candidates must be at least 1, got 0'),
    ({'score': 'clip'}, "score must be 'answers', 'soft' or 'likelihood'"),
    ({'stages': STAGES * 2}, r'stages must have increasing steps, got \[1, 1'),
    ({'enough': 1.0}, r'wave must be at least 1 with enough=1.0, got 0'),
    ({'fill': 'mean'}, "fill must be 'likeliest' or 'sampled', got 'mean'"),
  ],
)
def test_impossible_settings_are_refused(values, fault):
  with pytest.raises(ValueError, match=fault):
    search_settings.Search(**values)


def test_a_stage_behind_the_last_step_is_refused():
  settings = search_settings.Search(2, stages=(search_settings.Stage(3, 0.5),))
  with pytest.raises(ValueError, match=r'stages\[0\].steps must be less than'):
    settings.check_sampler(small_unified.SAMPLER)


def test_a_score_by_answers_needs_questions():
  settings = search_settings.Search(2, 'soft')
  with pytest.raises(ValueError, match='score must be likelihood with coco'):
    settings.check_questions([[{}], []], 'coco')
