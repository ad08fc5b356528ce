"""Baselines: questions about wrong and empty images."""

import numpy as np
import pytest
import scene_inputs

from hermesflow_jax.evaluation import baselines


class Knows:
  """Answers right about the real codes of a question's scene alone."""

  def answer(self, codes, questions):
    return [
      [
        q['answer'] if np.array_equal(own, given) else 'neither'
        for q in records
      ]
      for own, given, records in zip(
        scene_inputs.INPUTS.codes, codes, questions
      )
    ]


def test_another_scene_is_of_the_same_kind_where_there_is_one():
  tags = ['a', 'b', 'a', 'c', 'a', 'b']
  other = baselines.mismatched_indices(tags)
  assert [tags[n] for n in other] == ['a', 'b', 'a', 'a', 'a', 'b']
  assert all(n != position for n, position in enumerate(other))


def test_floors_ask_about_the_wrong_image_and_an_empty_one():
  def says_a(codes, questions):
    return [['a'] * len(records) for records in questions]

  scores = baselines.measure_baselines(
    Knows(), scene_inputs.INPUTS, says_a, np.zeros(4, int)
  )
  assert scores['real']['understanding'] == 1
  assert scores['another']['understanding'] == 0
  assert scores['blank']['understanding'] == 0
  # Two of three, and none of one.
  assert scores['blank']['judge'] == pytest.approx(1 / 3)
