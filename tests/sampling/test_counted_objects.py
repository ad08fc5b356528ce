"""Answers and likelihoods for more objects than any caption has.

  COUNTED_PICTURES=500 pytest -s -n 0 --dist no \\
    tests/sampling/test_counted_objects.py

prints the table in docs/grpo.md.
"""

import os

import numpy as np
import pytest

from hermesflow_jax.library import model_loading
from hermesflow_jax.sampling import likelihoods
from hermesflow_jax.shapes import caption_questions
from hermesflow_jax.shapes import drawing
from hermesflow_jax.shapes import shape_world

pytestmark = pytest.mark.optimized

COUNTS = (3, 4, 5, 6, 7, 8)
PICTURES = int(os.environ.get('COUNTED_PICTURES', '20'))


def pictures():
  """Captions 'four ...', each with an image of every count of such objects."""
  rng, captions, images = np.random.default_rng(1), [], []
  for _ in range(PICTURES):
    color = rng.choice(list(shape_world.COLORS))
    shape = rng.choice(shape_world.SHAPES)
    size = rng.choice(list(shape_world.SIZES))
    objects = tuple(
      shape_world.Obj(shape, color, size, *divmod(int(n), shape_world.GRID))
      for n in rng.permutation(shape_world.GRID**2)
    )
    for count in COUNTS:
      captions.append(f'four {color} {shape_world.plural(shape)}')
      images.append(drawing.render(shape_world.Scene('', '', objects[:count])))
  return captions, np.stack(images)


def test_answers_do_not_tell_five_objects_from_four():
  """So the number may drift in GRPO. The likelihood of captions does, a little."""
  model = model_loading.load_model('assets:shapes')
  captions, images = pictures()
  codes = model.encode(images)
  # Each caption's first question asks for the number.
  questions = [
    caption_questions.questions_of_caption('', caption)[:1]
    for caption in captions
  ]
  by_image = model.answerer.probabilities(codes, questions)
  probabilities = np.reshape([p['four'] for (p,) in by_image], (PICTURES, -1))
  logps = likelihoods.caption_logps(model, codes, captions)
  logps = logps.reshape(PICTURES, -1)
  less_likely = (np.diff(logps, axis=1, prepend=np.nan) < 0).mean(0)
  print()
  for row in zip(
    COUNTS,
    (probabilities > 0.5).mean(0),
    np.median(probabilities, 0),
    np.median(logps, 0),
    less_likely,
  ):
    print('| {} | {:.3f} | {:.4f} | {:.3f} | {:.2f} |'.format(*row))
  answers = (probabilities > 0.5).mean(0)
  assert answers[0] == 0 and (answers[1:] > 0.8).all()
  # Even more certain of six than of four.
  assert np.median(probabilities, 0)[3] > np.median(probabilities, 0)[1]
  assert less_likely[1] < 0.2 and (less_likely[2:] > 0.6).all()
