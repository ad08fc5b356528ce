"""Bytes of the host that an input takes in each phase, without a model.

`pytest -m slow -s tests/performance/test_growth.py` prints the table of
docs/scaling.md for rounds of the paper's size, in minutes of a core. The
benchmark `configs/benchmark.py:growth` has the same phases.
"""

import pytest

from hermesflow_jax.performance.benchmark import phase_meter
from hermesflow_jax.performance.benchmark import round_phases
from hermesflow_jax.performance.benchmark import round_size
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import sharding

# Inputs of the two measurements whose difference counts: whole shards. More
# objects than the first, and larger arrays than `BYTES`, lie in files.
FEW, MANY, WARM_UP, BYTES = 640, 1_792, 64, 2**12
# Held and peak bytes per input that a phase may take with 16 images.
BOUNDS = {
  'read inputs': (30, 80),
  'make candidates': (50, 300),
  'open candidates': (30, 80),
  'choose pairs': (30, 250),
  # Buffers of at most 16 MiB that a few inputs do not fill.
  'write pairs': (30, 1_700),
  'ask the judge': (30, 250),
  'read pairs': (30, 200),
  'join pairs and inputs': (30, 150),
  'measure texts': (30, 80),
  'score by the reference': (60, 200),
  'join groups (grpo)': (60, 2_500),  # The same.
  'read questions (answers)': (30, 150),
  # Answers about held-out inputs, of which there are 1,000.
  'evaluate': (1_300, 8_000),
}
# Phases that copy codes of the real images.
WITH_CODES = ('write pairs', 'evaluate')


def measured(folder, count, grid, images):
  """Returns the costs of a round by phase."""
  folder.mkdir()
  meter = phase_meter.PhaseMeter(traced=True)
  size = round_size.RoundSize(count, images, 10, grid, 5)
  mesh = sharding.make_mesh(1, idle=True)
  round_phases.play(meter, size, mesh, folder)
  return meter.costs


@pytest.mark.slow
@pytest.mark.parametrize('grid, images', [(16, 16), (16, 4), (32, 16)])
def test_bytes_of_an_input_have_bounds(tmp_path, monkeypatch, grid, images):
  monkeypatch.setattr(disk_objects, 'MOST', WARM_UP)
  monkeypatch.setattr(disk_arrays, 'MOST_BYTES', BYTES)
  measured(tmp_path / 'first', WARM_UP, grid, images)
  few, many = (
    measured(tmp_path / str(count), count, grid, images)
    for count in (FEW, MANY)
  )
  assert few.keys() == BOUNDS.keys()
  print(f'\n| phase, {grid**2} codes, {images} images | held | peak | ms |')
  print('|---|---|---|---|')
  for phase, (held, peak) in BOUNDS.items():
    more = 2 * 4 * grid**2 if phase in WITH_CODES else 0

    def of_input(kind):
      costs = [getattr(cost[phase], kind) for cost in (few, many)]
      return (costs[1] - costs[0]) / (MANY - FEW)

    print(
      f'| {phase} | {of_input("held"):,.0f} | {of_input("peak"):,.0f} | '
      f'{1e3 * of_input("seconds"):.2f} |'
    )
    assert of_input('held') <= held, phase
    assert of_input('peak') <= peak + more, phase
