"""Results of the ablation: its scores, and their changes."""

from collections.abc import Sequence
import dataclasses
import json
import math

import numpy as np

from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.evaluation import baselines
from hermesflow_jax.evaluation import scene_statistics
from hermesflow_jax.experiments import ablation_settings
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.shapes import shape_world


def arm_results(
  config: ablation_settings.Settings,
  bench: ablation_settings.SharedSetup,
  search: dict,
  played: dict,
) -> dict:
  """Returns results, as JSON types, of the seeds of `config`."""
  return {
    'command': config.command,
    'seeds': list(config.seeds),
    'scenes': len(bench.world.held_out),
    'split': config.self_play.held_out_split,
    'against': next(
      arm.label for arm in config.arms if arm.name == config.against
    ),
    'models': model_results(config, bench, search, played),
    'rounds_of': [name for name, count in config.rounds.items() if count > 1]
    or [config.against],
    'sweeps': {
      sweep.title: sweep_results(config, bench, sweep)
      for sweep in config.sweeps
    },
    'search': search,
    'floors': {},
    'config': json.loads(json.dumps(dataclasses.asdict(config), default=str)),
  }


def read_results(
  config: ablation_settings.Settings,
  bench: ablation_settings.SharedSetup,
  arm: str,
  number: int,
) -> list[dict[str, dict]]:
  """Returns the scores of scenes after a round of an arm, of each seed."""
  learned = {c for inputs in bench.world.inputs for c in inputs.captions}
  return [
    scene_statistics.read_scenes(
      bench.root / f'seed_{seed}' / arm / f'round_{number}',
      bench.world.held_out,
      learned,
    )
    for seed in config.seeds
  ]


def sweep_results(
  config: ablation_settings.Settings,
  bench: ablation_settings.SharedSetup,
  sweep: ablation_settings.Sweep,
) -> list[dict]:
  """Returns the points of a sweep as JSON types.

  All but the one that has the setting of the arm `against` say how they differ
  from it.
  """
  usual = next(
    (point for point in sweep.points if point.arm == config.against), None
  )
  rows = [dataclasses.asdict(point) for point in sweep.points]
  if usual:
    before = read_results(config, bench, usual.arm, usual.round)
    for row, point in zip(rows, sweep.points):
      if point != usual:
        row['against'] = score_changes(
          before, read_results(config, bench, point.arm, point.round)
        )
  return rows


def model_results(
  config: ablation_settings.Settings,
  bench: ablation_settings.SharedSetup,
  search: dict,
  played: dict,
) -> list[dict]:
  """Returns one row of results for the base and for each round of each arm."""
  base = read_results(config, bench, 'base', 0)
  last = config.rounds[config.against]
  # An arm of several rounds is compared with what had as many, if it may.
  against = {
    number: read_results(config, bench, config.against, number)
    for number in range(1, last + 1)
  }
  out = [{'label': 'base', 'arm': '', 'round': 0, 'scores': mean_scores(base)}]
  for arm in config.arms:
    name, play = arm.name, arm.play(config.self_play.play, 0)
    for number in range(1, play.rounds + 1):
      runs = read_results(config, bench, name, number)
      rows = [played[seed, name][number] for seed in config.seeds]
      row = {
        'label': arm.label + f', round {number}' * (play.rounds > 1),
        'arm': name,
        'round': number,
        'rate': search.get(name, {}).get('chosen', play.optim.lr),
        'pairs': [r['learned']['inputs'] for r in rows],
        'steps': [r['learned']['steps'] for r in rows],
        'seconds': [r['seconds']['training'] for r in rows],
        'curation': [r['curation'] for r in rows],
        'scores': mean_scores(runs),
        'base': score_changes(base, runs),
      }
      other = 1 if name == config.against else min(number, last)
      if (name, number) != (config.against, other):
        row['against'] = score_changes(against[other], runs)
      out.append(row)
  return out


def mean_scores(runs: Sequence[dict]) -> dict[str, dict]:
  """Returns the mean of each score, and of the six tasks together."""
  found = {
    name: scene_statistics.mean([run[name] for run in runs]) for name in runs[0]
  }
  tasks = [found[n] for n in found if n.startswith('geneval/')]
  if tasks:
    # Over scenes, tasks would differ by more than models do.
    found[scene_statistics.SIX] = scene_statistics.average_difference(tasks)
  return {name: to_json(one) for name, one in found.items()}


def score_changes(
  before: Sequence[dict], after: Sequence[dict]
) -> dict[str, dict]:
  """Returns the difference of each score, and whether it stands."""
  out = {}
  for name in before[0]:
    one = scene_statistics.difference(
      [run[name] for run in before], [run[name] for run in after]
    )
    out[name] = to_json(one) | {'stands': one.stands}
  return out


def to_json(found: scene_statistics.Mean | scene_statistics.Difference) -> dict:
  """Returns it as JSON types: what nobody knows, as of one scene, is None."""
  return {
    name: None if isinstance(value, float) and math.isnan(value) else value
    for name, value in dataclasses.asdict(found).items()
  }


def measure_baselines(
  config: ablation_settings.Settings,
  bench: ablation_settings.SharedSetup,
  played: dict,
) -> dict[str, dict]:
  """Returns floors of the base model, and of the arm with the most rounds."""
  seed = config.seeds[0]
  arm = max(config.arms, key=lambda arm: len(played[seed, arm.name]))
  last = len(played[seed, arm.name]) - 1
  learned, _ = trained_model.restore_parts(
    str(bench.root / f'seed_{seed}' / arm.name / 'checkpoints' / str(last)),
    bench.base,
  )
  blank = blank_codes(bench.base)
  return {
    label: baselines.measure_baselines(
      dataclasses.replace(bench.base, model=model),
      bench.world.held_out,
      bench.world.judge,
      blank,
    )
    for label, model in (
      ('base', bench.base.model),
      (f'{arm.label}, round {last}', learned),
    )
  }


def blank_codes(unified: unified_model.UnifiedModel) -> np.ndarray:
  """Returns int[I], the codes of an image of one light grey."""
  height, width = (side * unified.tokenizer.reduction for side in unified.grid)
  image = np.broadcast_to(
    np.array(shape_world.BACKGROUND, np.uint8), (1, height, width, 3)
  )
  return unified.encode(np.ascontiguousarray(image))[0]
