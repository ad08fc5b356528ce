"""Images that a request chooses are those that it would draw one by one."""

import jax
import numpy as np
import small_unified
import tiny

from hermesflow_jax.sampling import search_scores
from hermesflow_jax.serving import image_forms
from hermesflow_jax.serving import model_service


def test_best_of_sends_the_best_drawings_in_order(monkeypatch):
  unified = small_unified.unified_on(tiny.show_o(jax.random.key(5)))
  service = model_service.ModelService(unified, 8, small_unified.SAMPLER)
  request = model_service.DrawRequest('red circle', 5)
  expected = service.draw(
    [model_service.DrawRequest('red circle', 5, n) for n in range(4)],
    small_unified.SAMPLER,
  )

  def score(unified, name, codes, captions, questions=None):
    assert name == 'likelihood' and captions == ['red circle'] * 4
    return np.arange(4)

  monkeypatch.setattr(search_scores, 'score', score)
  (best,) = service.run(
    ('search', 'draw', 2, 4), [model_service.SearchRequest(request, 2, 4)]
  )
  np.testing.assert_array_equal(best, [expected[3], expected[2]])


def test_without_best_of_the_server_decides_how_many_candidates_there_are():
  assert image_forms.read({'prompt': 'a'}, 64).best_of == 1
  assert image_forms.read({'prompt': 'a', 'n': 2}, 64, 8).best_of == 16
  body = {'prompt': 'a', 'best_of': 3}
  assert image_forms.read(body, 64, 8).best_of == 3
