"""Functions of the user: called by the first process, for a block of images."""

import dataclasses
import json

import numpy as np
import pytest

from hermesflow_jax.judging import imported_judge
from hermesflow_jax.judging import model_judge
from hermesflow_jax.runtime import processes
from hermesflow_jax.scoring import caption_scorers
from hermesflow_jax.scoring import choice_matchers

CODES = np.arange(5, dtype=np.int32)[:, None]
QUESTIONS = [[{'question': 'q', 'choices': ['a', 'b']}] for _ in CODES]


def decode(codes):
  """Images of 2 x 2 pixels in the grey of their code."""
  return np.broadcast_to(
    codes.astype(np.uint8)[:, :, None, None], (len(codes), 2, 2, 3)
  )


def users_functions(function):
  """Returns calls of a judge and a matcher, and their results."""
  judge = imported_judge.CheckedJudge('m:f', function, decode)
  matcher = choice_matchers.CheckedMatcher('m:f', function)
  return {
    'judge': (lambda: judge(CODES[:2], QUESTIONS[:2]), [['a'], ['b']]),
    'matcher': (lambda: matcher(['x', 'y'], [['a', 'b']] * 2), [1, None]),
  }


@pytest.mark.parametrize('name', ['judge', 'matcher'])
@pytest.mark.parametrize('uses_devices', [False, True])
@pytest.mark.parametrize('first', [False, True])
def test_the_first_process_calls_a_function_that_needs_no_devices(
  monkeypatch, name, uses_devices, first
):
  calls = []

  def function(*_):
    calls.append(1)
    return result

  function.uses_devices = uses_devices
  call, result = users_functions(function)[name]
  monkeypatch.setattr(processes, 'single_process', lambda: False)
  monkeypatch.setattr(processes, 'is_first', lambda: first)
  monkeypatch.setattr(
    processes,
    '_broadcast_text',
    lambda text: text if first else json.dumps(['ok', result]),
  )
  assert call() == result
  assert bool(calls) == (first or uses_devices)


def test_a_scorer_of_the_user_sees_the_captions_of_a_block():
  class Images:
    """Stands for `scored_images.ScoredImages`."""

    def pixel_blocks(self):
      yield np.array([2, 0]), decode(CODES[[2, 0]])
      yield np.array([1]), decode(CODES[[1]])

  def function(captions, references, pixels):
    assert list(captions) == [f'c{image[0, 0, 0]}' for image in pixels]
    return pixels[:, 0, 0, 0] / 4

  scorer = caption_scorers.CheckedScorer('m:f', function)
  scores = scorer(['c0', 'c1', 'c2'], ['', '', ''], Images())
  assert scores.tolist() == [0, 0.25, 0.5]


def test_a_judge_of_the_user_sees_a_block_of_images(monkeypatch):
  monkeypatch.setattr(imported_judge, 'BLOCK', 2)
  sizes = []

  def function(images, questions):
    sizes.append(len(images))
    return [[str(image[0, 0, 0])] for image in images]

  judge = imported_judge.CheckedJudge('m:f', function, decode)
  assert judge(CODES, QUESTIONS) == [['0'], ['1'], ['2'], ['3'], ['4']]
  assert sizes == [2, 2, 1]


@pytest.mark.parametrize('block, sizes', [(2, [2, 2, 2]), (9, [5])])
def test_a_model_that_judges_sees_blocks_of_the_same_size(
  monkeypatch, block, sizes
):
  monkeypatch.setattr(model_judge, 'BLOCK', block)
  encoded = []

  @dataclasses.dataclass(frozen=True)
  class Model:
    vision = None
    grid = (1, 1)

    class tokenizer:
      reduction = 2

    def encode(self, images):
      encoded.append(len(images))
      return images[:, 0, 0, :1].astype(np.int32)

    def answer(self, codes, questions):
      return codes[:, 0].tolist()

  judge = model_judge.make(Model(), decode, same_codes=False)
  assert judge(CODES, QUESTIONS) == [0, 1, 2, 3, 4]
  assert encoded == sizes
