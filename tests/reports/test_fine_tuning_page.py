"""The page of a fine-tuning run names its best step and shows its previews."""

import numpy as np
import pytest

from hermesflow_jax.reports import fine_tuning_page

METRICS = [
  {'step': step, 'loss/t2i': 5.0 / step, 'loss/mmu': 1.0, 'loss/lm': None}
  for step in (1, 2, 3)
]
HELD_OUT = [
  {'step': step, 't2i': loss, 'mmu': 1.0, 'lm': 2.0, 'total': loss + 1.2}
  for step, loss in ((0, 9.0), (2, 4.0), (3, 5.0))
]


def page(measurements, best, previews=()):
  return fine_tuning_page.render_page(
    title='Fine-tuning: <run>',
    command='python main.py',
    examples={'t2i': 1234},
    metrics=METRICS,
    measurements=measurements,
    best=best,
    previews=previews,
  )


@pytest.mark.parametrize(
  'measurements, best, sentence',
  [
    ((), None, 'The model learned for 3 steps.'),
    (HELD_OUT, HELD_OUT[1], 'held\u2011out loss was lowest at step 2, 5.200.'),
    (
      HELD_OUT[:2],
      HELD_OUT[1],
      'held\u2011out loss is lowest at the end, 5.200.',
    ),
  ],
)
def test_the_first_sentence_names_the_best_step(measurements, best, sentence):
  text = page(measurements, best)
  assert sentence in text
  assert ('2 (best)' in text) == ('held-out rows' in text) == bool(measurements)
  assert 'Fine-tuning: &lt;run&gt;' in text


def test_previews_stand_side_by_side():
  image = np.zeros((2, 2, 3), np.uint8)
  text = page(HELD_OUT, HELD_OUT[1], [('a <cat>', [(0, image), (3, image)])])
  assert text.count('data:image/png') == 2 and 'a &lt;cat&gt;' in text
  assert 'step 0' in text and 'step 3' in text
