"""Programs that a server compiles before requests need them."""

import dataclasses
import types

import small_unified
import tiny

from hermesflow_jax.sampling import early_finish
from hermesflow_jax.sampling import image_steps
from hermesflow_jax.serving import model_service
from hermesflow_jax.serving import warm_up


def test_drawings_that_finish_early_are_compiled_for_all_sizes(monkeypatch):
  unified = types.SimpleNamespace(mesh=tiny.mesh(1, 1), chunk=4)
  sampler = dataclasses.replace(small_unified.SAMPLER, error_budget=0.5)
  service = model_service.ModelService(unified, 8, sampler, (4,))
  computed = []
  monkeypatch.setattr(service, 'draw', lambda requests, sampler: None)
  monkeypatch.setattr(image_steps, 'prepare', lambda *arguments: arguments)
  monkeypatch.setattr(
    early_finish,
    'draw_all_sizes',
    lambda steps, keys: computed.append((*steps, keys.shape)),
  )
  (program,) = (
    program
    for program in warm_up.programs(service, 5)
    if program.name == 'drawings of 4'
  )
  program.run()
  assert computed == [(unified, ['a'] * 4, sampler, (4, 1, 2))]
