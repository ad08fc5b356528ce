"""Inputs of the tiny model with questions, and the pixels of their images."""

import numpy as np
import tiny

from hermesflow_jax.data import input_set

RNG = np.random.default_rng(0)
QUESTIONS = [
  [
    {
      'question': 'what color is the shape ?',
      'choices': ['red', 'blue', 'blue circle', 'green'],
      'answer': 'blue circle',
    },
    {
      'question': 'is the shape red ?',
      'choices': ['yes', 'no'],
      'answer': 'yes',
    },
  ],
  [{'question': 'what shape ?', 'choices': ['star', 'red'], 'answer': 'star'}],
]
PIXELS = RNG.integers(0, 256, (2, 12, 12, 3), np.uint8)


def inputs_of(questions):
  return input_set.Inputs(
    ids=[str(n) for n in range(len(questions))],
    captions=['red circle'] * len(questions),
    tags=[''] * len(questions),
    questions=questions,
    codes=RNG.integers(0, 16, (len(questions), tiny.IMAGE_TOKENS)),
  )
