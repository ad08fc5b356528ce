"""Bytes of the host that an input takes in each phase, without a model.

`pytest -m slow -s tests/performance/test_growth.py` prints the table of
docs/scaling.md for rounds of the paper's size, in minutes of a core. The
benchmark `configs/benchmark.py:growth` has the same phases.
"""

import pytest

from hermesflow_jax.performance.benchmark import phase_meter
from hermesflow_jax.performance.benchmark import round_phases
from hermesflow_jax.performance.benchmark import round_size
from hermesflow_jax.runtime import sharding

# Inputs of the two measurements whose difference counts: whole shards.
FEW, MANY, WARM_UP = 160, 448, 64
# Held and peak bytes per input that a phase may take at 256 codes, 16 images.
BOUNDS = {
  'read inputs': (5_000, 10_000),
  'make candidates': (200, 3_000),
  'open candidates': (500, 1_500),
  'choose pairs': (4_000, 4_500),
  'write pairs': (200, 4_000),
  'ask the judge': (200, 1_000),
  'read pairs': (4_500, 6_000),
  'join pairs and inputs': (1_000, 1_500),
  'measure texts': (200, 3_000),
  'score by the reference': (1_000, 2_000),
  'join groups (grpo)': (21_000, 24_000),
  'read questions (answers)': (800, 2_600),
  'evaluate': (4_000, 8_000),
}


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
def test_bytes_of_an_input_have_bounds(tmp_path, grid, images):
  measured(tmp_path / 'first', WARM_UP, grid, images)
  few, many = (
    measured(tmp_path / str(count), count, grid, images)
    for count in (FEW, MANY)
  )
  assert few.keys() == BOUNDS.keys()
  print(f'\n| phase, {grid**2} codes, {images} images | held | peak | ms |')
  print('|---|---|---|---|')
  # Codes of the real image, the winner and the loser are held.
  more = 3 * 4 * (grid**2 - 256)
  for phase, (held, peak) in BOUNDS.items():
    if phase == 'join groups (grpo)':
      # Of a large round these are in a file.
      held, peak = (
        bound + 4 * images * (grid**2 - 256) for bound in (held, peak)
      )

    def of_input(kind):
      costs = [getattr(cost[phase], kind) for cost in (few, many)]
      return (costs[1] - costs[0]) / (MANY - FEW)

    print(
      f'| {phase} | {of_input("held"):,.0f} | {of_input("peak"):,.0f} | '
      f'{1e3 * of_input("seconds"):.2f} |'
    )
    assert of_input('held') <= held + more, phase
    assert of_input('peak') <= peak + 2 * more, phase
