"""Laws of partial guidance, and of images that finish before the last step."""

import dataclasses

import jax
import numpy as np
import pytest
import small_unified
import tiny

from hermesflow_jax.models import flop_count
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import early_finish
from hermesflow_jax.sampling import image_steps
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import revealed_codes
from hermesflow_jax.sampling import search
from hermesflow_jax.sampling import search_settings
from hermesflow_jax.sequences import text_to_image

NAMES, CAPTIONS = small_unified.NAMES[:6], small_unified.CAPTIONS[:6]
SAMPLER = small_unified.SAMPLER
# The first of three steps has no guidance.
LATE = dataclasses.replace(SAMPLER, guided=(0.3, 1.0))
BUDGET = dataclasses.replace(LATE, error_budget=0.9)
SEED = 3


def prepared(unified, sampler, images=2, some=slice(None)):
  """Returns (steps, keys [N, K, 2])."""
  names = [f'image/{name}' for name in NAMES[some]]
  keys = batched.identity_keys(SEED, names, images)
  return image_steps.prepare(unified, CAPTIONS[some], sampler), keys


@pytest.fixture(scope='module')
def in_budget(unified):
  return early_finish.draw(*prepared(unified, BUDGET))


def test_steps_without_guidance_are_those_of_a_sampler_without(unified):
  unguided = dataclasses.replace(SAMPLER, guidance=0.0)
  first, keys = prepared(unified, unguided)
  states, _ = first.draw_span(keys, None, (0, 1))
  rest, _ = prepared(unified, SAMPLER)
  _, expected = rest.draw_span(keys, states, (1, 3))
  actual = unified.draw(NAMES, CAPTIONS, 2, LATE, SEED)
  np.testing.assert_array_equal(actual, expected)


def test_a_step_without_guidance_costs_a_branch_less(model):
  rows = text_to_image.t2i_prefix(
    model.config.vocab, [[2, 3], []], tiny.LENGTHS.max_text
  )

  def flops(part, guidance=1.0):
    sampler = maskgit.MaskGITSampler(4, guidance, guided=part)

    def sample(key):
      text = [jax.tree.map(lambda a, n=n: a[n], rows) for n in (0, 1)]
      codes = np.full(tiny.IMAGE_TOKENS, -1)
      counts = np.zeros(4, np.int32)
      return maskgit.sample_steps(
        model, key, text, codes, sampler, counts, 0, sampler.guided_steps()
      )

    return flop_count.count_flops(sample, jax.random.key(0)).flops

  costs = [flops(part) for part in ((0, 1), (0.25, 1), (0, 0.5), (0.75, 1))]
  branch = costs[0] - costs[1]
  assert branch > 0
  assert np.diff(costs).tolist() == [-branch] * 3
  # Without a guided step the empty caption is not read either.
  assert costs[3] - flops((0, 1), guidance=0.0) > branch


@pytest.mark.parametrize('budget', [1e-9, 0.5, 1.5, 100.0])
def test_a_budget_keeps_only_codes_whose_errors_fit(budget):
  rng = np.random.default_rng(0)
  for _ in range(20):
    masked = rng.random(8) < 0.7
    logps = np.log(rng.uniform(0.01, 0.99, 8)).astype(np.float32)
    noise = rng.normal(size=8).astype(np.float32)
    before, after = (
      np.asarray(revealed_codes.still_masked(masked, logps, noise, 3, value))
      for value in (0.0, budget)
    )
    assert not (after & ~before).any()
    more = before & ~after
    errors = 1 - np.exp(logps)
    assert errors[more].sum() <= budget + 1e-5
    # A code that stays would exceed the budget, together with all better ones.
    for place in np.flatnonzero(after):
      better = masked & (errors <= errors[place])
      assert errors[better].sum() > budget
    if budget == 100.0:
      assert not after.any()


def test_finished_images_are_those_of_all_steps(unified, in_budget):
  steps, keys = prepared(unified, BUDGET)
  codes, passes = in_budget
  np.testing.assert_array_equal(codes, steps.draw(keys, None))
  assert codes.min() >= 0 and codes.max() < unified.vocab.codebook_size
  # One unguided step for two images, then up to two guided ones for each.
  assert set(np.unique(passes)) == {2.5, 4.5}


def test_devices_chunks_and_company_change_no_code(model, in_budget):
  other = small_unified.unified_on(model, (8, 1), chunk=16)
  codes, passes = early_finish.draw(*prepared(other, BUDGET, some=slice(1, 4)))
  np.testing.assert_array_equal(codes, in_budget[0][1:4])
  np.testing.assert_array_equal(passes, in_budget[1][1:4])


@pytest.fixture
def counted_steps(monkeypatch):
  """Image m finishes in step m; the calls' spans and images are listed."""
  calls = []

  def draw_span(self, keys, states, span, fill=None, most=None):
    begin, end = span
    calls.append((span, keys.shape[:2], most))
    finish = keys[..., :1].astype(int)
    states = np.where(finish < end, finish, -1)
    return states, np.where(states < 0, end + 100, states)

  monkeypatch.setattr(image_steps.ImageSteps, 'draw_span', draw_span)
  return calls


def test_passes_are_those_of_the_stretches_with_the_image(
  unified, counted_steps
):
  sampler = maskgit.MaskGITSampler(16, 1.0, guided=(0.5, 1), error_budget=1.0)
  steps, _ = prepared(unified, sampler)
  keys = np.zeros((6, 2, 2), np.uint32)
  keys[:, 1, 0], keys[5, 1, 0] = 9, 99
  codes, passes = early_finish.draw(steps, keys)
  # Two steps a stretch; the first eight steps have no guidance.
  assert (passes[:, 0] == 2 - 0.5).all()
  assert (passes[:5, 1] == 8 - 0.5 + 2 * 2).all()
  assert passes[5, 1] == 8 - 0.5 + 2 * 8
  assert (codes[:5, 1] == 9).all() and codes[5, 1, 0] == 100 + 16
  assert counted_steps[:2] == [((0, 2), (6, 2), None), ((2, 4), (6, 1), 12)]
  assert counted_steps[-1] == ((14, 16), (1, 1), 1)


@pytest.mark.parametrize('part, count', [((0.4, 1), 6), ((0, 1), 1)])
def test_all_sizes_are_those_of_any_images(unified, counted_steps, part, count):
  """What a server computes before has the programs of all later drawings."""
  sampler = maskgit.MaskGITSampler(15, 1.0, guided=part, error_budget=1.0)
  steps, keys = prepared(unified, sampler, 1, slice(count))
  guided = sampler.guided_steps()

  def programs():
    return {(guided[slice(*span)], most) for span, _, most in counted_steps}

  early_finish.draw_all_sizes(steps, keys)
  assert all(shape == (most, 1) for _, shape, most in counted_steps)
  expected = programs()
  counted_steps.clear()
  for unfinished in range(count + 1):
    keys = np.zeros((count, 1, 2), np.uint32)
    keys[:unfinished, 0, 0] = 99
    early_finish.draw(steps, keys)
  assert {program for program in programs() if program[1]} == expected


def test_images_from_known_codes_share_no_step(unified, counted_steps):
  sampler = maskgit.MaskGITSampler(16, 1.0, error_budget=1.0)
  steps, _ = prepared(unified, sampler)
  known_codes = np.zeros((6, 2, 1), int), np.ones((6, 2, 1), bool)
  keys = np.zeros((6, 2, 2), np.uint32)
  _, passes = early_finish.draw(steps, keys, known_codes)
  assert (passes == 2 * 2).all()


def test_search_counts_the_passes_of_unfinished_images(unified, counted_steps):
  sampler = maskgit.MaskGITSampler(16, 1.0, error_budget=1.0)
  some = NAMES[:1], CAPTIONS[:1]
  keys = batched.identity_keys(SEED, [f'image/{NAMES[0]}'], 1)
  finish = int(keys[0, 0, 0])
  codes, passes = search.draw(
    unified, *some, 1, sampler, SEED, search_settings.Search()
  )
  assert finish > 16 and codes.item() == 100 + 16
  assert passes.item() == 2 * 16


def test_passes_are_not_written_where_each_step_costs_the_same(unified):
  assert not SAMPLER.has_fewer_passes
  assert LATE.has_fewer_passes and BUDGET.has_fewer_passes
