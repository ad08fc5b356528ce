"""Two scenes with questions: of GenEval's counting task, and without a task."""

import numpy as np

from hermesflow_jax.data import input_set


def question(kind, answer):
  return {
    'question': f'{kind} {answer} ?',
    'choices': ['a', 'b'],
    'answer': answer,
    'element_type': kind,
  }


INPUTS = input_set.Inputs(
  ids=['one', 'two'],
  captions=['a ring', 'a star'],
  tags=['counting', ''],
  questions=[
    [question('color', 'a'), question('color', 'b'), question('count', 'a')],
    [question('count', 'b')],
  ],
  codes=np.arange(8).reshape(2, 4),
)
