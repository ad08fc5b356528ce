"""Prompts and a small unified model that tests of samplers share."""

import golden_rows
import jax
import pytest
import small_unified
import tiny

from hermesflow_jax.sequences import image_to_text


@pytest.fixture(scope='module')
def prompt(golden, golden_policy):
  """(image Rows [3, E], prompt Rows [3, P], lengths [3]), the official one."""
  question = golden['mmu_gen_question'][0].tolist()
  return image_to_text.mmu_parts(
    golden_policy.config.vocab,
    golden['mmu_image_tokens'],
    [question] * 3,
    3 + golden_rows.CODES + 1 + len(question) + 2,
  )


@pytest.fixture(scope='module')
def model():
  return tiny.show_o(jax.random.key(5))


@pytest.fixture(scope='module')
def unified(model):
  return small_unified.unified_on(model)


@pytest.fixture(scope='module')
def drawn(unified):
  return unified.draw(
    small_unified.NAMES,
    small_unified.CAPTIONS,
    2,
    small_unified.SAMPLER,
    seed=3,
  )


@pytest.fixture(scope='module')
def output(unified, drawn):
  return unified.describe(
    small_unified.NAMES, drawn[:, 0], small_unified.SAMPLERS, seed=3
  )


@pytest.fixture(scope='module')
def answered(unified, drawn):
  return unified.answer(drawn[:, 0], small_unified.QUESTIONS)
