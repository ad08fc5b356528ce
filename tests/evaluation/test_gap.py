"""Understanding, generation and own scores of a model beside its judge."""

import dataclasses

import numpy as np
import pytest
import scene_inputs

from hermesflow_jax.evaluation import gap
from hermesflow_jax.sampling import search
from hermesflow_jax.sampling import search_settings


class Paints:
  """Draws what it asks for, and likes it."""

  def answer(self, codes, questions):
    return [
      ['b' if code.any() else 'a' for _ in records]
      for code, records in zip(codes, questions)
    ]

  def describe(self, ids, codes, decodings, seed):
    return [['']] * len(ids)

  def draw(self, ids, captions, count, sampler, seed):
    return np.zeros((len(ids), count, 4), int)


def test_a_model_judges_its_own_images_beside_the_judge():
  def says_b(codes, questions):
    return [['b'] * len(records) for records in questions]

  result = gap.evaluate(
    Paints(), scene_inputs.INPUTS, None, says_b, lambda a, b: np.ones(len(a)), 0
  )
  assert result.own == [['a', 'a', 'a'], ['a']]
  np.testing.assert_allclose(result.own_score, [2 / 3, 0.0])
  np.testing.assert_allclose(result.generation, [1 / 3, 1.0])
  assert gap.summarize(result, scene_inputs.INPUTS)[
    'own_score'
  ] == pytest.approx(1 / 3)


def test_without_another_judge_a_model_answers_once():
  paints = Paints()
  calls = []
  answer = paints.answer

  def counted(codes, questions):
    calls.append(codes.tolist())
    return answer(codes, questions)

  paints.answer = counted
  result = gap.evaluate(
    paints, scene_inputs.INPUTS, None, None, lambda a, b: np.ones(len(a)), 0
  )
  # About the real images, and once about its own.
  assert len(calls) == 2
  assert result.own_score is None and result.own is None
  summary = gap.summarize(result, scene_inputs.INPUTS)
  assert 'own_score' not in summary and 'generation' in summary
  assert (
    gap.summarize(result.select([1]), scene_inputs.INPUTS.select([1]))['scenes']
    == 1
  )


def test_scores_by_tag_are_of_its_scenes():
  inputs = dataclasses.replace(scene_inputs.INPUTS, tags=['counting', 'colors'])
  result = gap.evaluate(
    Paints(),
    inputs,
    None,
    lambda codes, questions: [
      [q['answer'] for q in records] for records in questions
    ],
    lambda a, b: np.ones(len(a)),
    0,
  )
  by_tag = gap.summarize(result, inputs)['by_tag']
  assert {t: (r['scenes'], r['share']) for t, r in by_tag.items()} == {
    'colors': (1, 0.5),
    'counting': (1, 0.5),
  }
  for tag, n in (('counting', 0), ('colors', 1)):
    assert by_tag[tag]['understanding'] == result.understanding[n]
    assert by_tag[tag]['generation'] == 1


def test_searched_images_are_judged_and_their_passes_counted(monkeypatch):
  def draw(unified, ids, captions, count, sampler, seed, searching, questions):
    assert questions == scene_inputs.INPUTS.questions
    return np.ones((len(ids), count, 4), int), np.array([[40.0], [60.0]])

  monkeypatch.setattr(search, 'draw', draw)
  result = gap.evaluate(
    Paints(),
    scene_inputs.INPUTS,
    None,
    None,
    lambda a, b: np.ones(len(a)),
    0,
    search_settings.Search(2),
  )
  assert result.codes.all()
  summary = gap.summarize(result, scene_inputs.INPUTS)
  assert summary['decoder_passes'] == 50.0
  assert result.select([1]).passes.tolist() == [60.0]
