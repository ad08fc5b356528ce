"""Ablation results: mean scores by arm, and their changes."""

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

# Fields whose names in `results.json` differ.
_JSON_KEYS = {'degrees_of_freedom': 'freedom'}


def arm_results(
  config: ablation_settings.Settings,
  setup: ablation_settings.SharedSetup,
  search: dict,
  played: dict,
) -> dict:
  """Returns all results as JSON types.

  Args:
    config: settings; only its seeds count.
    setup: model and data.
    search: from `ablation.search_rates`.
    played: by (seed, arm name), round summaries, the base first.
  """
  return {
    'command': config.command,
    'seeds': list(config.seeds),
    'scenes': len(setup.data.held_out),
    'split': config.self_play.held_out_split,
    'against': next(
      arm.label for arm in config.arms if arm.name == config.against
    ),
    'models': model_results(config, setup, search, played),
    'rounds_of': [name for name, count in config.rounds.items() if count > 1]
    or [config.against],
    'sweeps': {
      sweep.title: sweep_results(config, setup, sweep)
      for sweep in config.sweeps
    },
    'search': search,
    'floors': {},
    'config': json.loads(json.dumps(dataclasses.asdict(config), default=str)),
  }


def read_results(
  config: ablation_settings.Settings,
  setup: ablation_settings.SharedSetup,
  arm: str,
  number: int,
) -> list[dict[str, dict]]:
  """Reads an arm's scores after a round.

  Args:
    config: settings; only its seeds count.
    setup: model and data.
    arm: arm name, or 'base'.
    number: the round.

  Returns:
    For each seed, scores as from `scene_statistics.read_scenes`.
  """
  return [
    scene_statistics.read_scenes(
      setup.root / f'seed_{seed}' / arm / f'round_{number}',
      setup.data.held_out,
      setup.data.input_captions,
    )
    for seed in config.seeds
  ]


def sweep_results(
  config: ablation_settings.Settings,
  setup: ablation_settings.SharedSetup,
  sweep: ablation_settings.Sweep,
) -> list[dict]:
  """Returns a sweep's points as JSON types.

  If a point belongs to the arm `config.against`, the other points have score
  changes from that point under `against`.
  """
  default = next(
    (point for point in sweep.points if point.arm == config.against), None
  )
  rows = [dataclasses.asdict(point) for point in sweep.points]
  if default:
    default_scores = read_results(config, setup, default.arm, default.round)
    for row, point in zip(rows, sweep.points):
      if point != default:
        row['against'] = score_changes(
          default_scores, read_results(config, setup, point.arm, point.round)
        )
  return rows


def model_results(
  config: ablation_settings.Settings,
  setup: ablation_settings.SharedSetup,
  search: dict,
  played: dict,
) -> list[dict]:
  """Returns result rows: the base model, then each arm's rounds.

  A row has mean `scores`, their changes since the `base` model, and their
  changes `against` the arm `config.against`: after equally many rounds, or
  after its last round if it has fewer. That arm's own later rounds are
  compared with its first round.

  Args:
    config: job settings.
    setup: model and data.
    search: from `ablation.search_rates`.
    played: by (seed, arm name), round summaries, the base first.
  """
  base = read_results(config, setup, 'base', 0)
  last = config.rounds[config.against]
  against = {
    number: read_results(config, setup, config.against, number)
    for number in range(1, last + 1)
  }
  table = [
    {'label': 'base', 'arm': '', 'round': 0, 'scores': mean_scores(base)}
  ]
  for arm in config.arms:
    name, play = arm.name, arm.play(config.self_play.play, 0)
    for number in range(1, play.rounds + 1):
      runs = read_results(config, setup, name, number)
      summaries = [played[seed, name][number] for seed in config.seeds]
      row = {
        'label': arm.label + f', round {number}' * (play.rounds > 1),
        'arm': name,
        'round': number,
        'rate': search.get(name, {}).get('chosen', play.optim.lr),
        'pairs': [s['learned']['inputs'] for s in summaries],
        'steps': [s['learned']['steps'] for s in summaries],
        'seconds': [s['seconds']['training'] for s in summaries],
        'curation': [s['curation'] for s in summaries],
        'scores': mean_scores(runs),
        'base': score_changes(base, runs),
      }
      other = 1 if name == config.against else min(number, last)
      if (name, number) != (config.against, other):
        row['against'] = score_changes(against[other], runs)
      table.append(row)
  return table


def mean_scores(runs: Sequence[dict]) -> dict[str, dict]:
  """Returns the mean of each score over runs and scenes, as JSON types.

  Args:
    runs: scores by name and scene id, for each run.
  """
  means = {
    name: scene_statistics.mean([run[name] for run in runs]) for name in runs[0]
  }
  tasks = [means[name] for name in means if name.startswith('geneval/')]
  if tasks:
    # An error over the scenes of all tasks would be too large: tasks differ by
    # more than models do.
    means[scene_statistics.TASK_MEAN] = scene_statistics.average_difference(
      tasks
    )
  return {name: to_json(mean) for name, mean in means.items()}


def score_changes(
  before: Sequence[dict], after: Sequence[dict]
) -> dict[str, dict]:
  """Returns the change of each score, and whether it is significant.

  Args:
    before: scores by name and scene id, for each run.
    after: the same; run n is compared with run n of `before`.

  Returns:
    By score: fields of `scene_statistics.Difference`, `degrees_of_freedom` as
    `freedom`, and `stands`: whether the change is significant.
  """
  changes = {}
  for name in before[0]:
    difference = scene_statistics.difference(
      [run[name] for run in before], [run[name] for run in after]
    )
    changes[name] = to_json(difference) | {'stands': difference.significant}
  return changes


def to_json(
  statistic: scene_statistics.Mean | scene_statistics.Difference,
) -> dict:
  """Returns a statistic as JSON types, NaN as None."""
  return {
    _JSON_KEYS.get(name, name): (
      None if isinstance(value, float) and math.isnan(value) else value
    )
    for name, value in dataclasses.asdict(statistic).items()
  }


def measure_baselines(
  config: ablation_settings.Settings,
  setup: ablation_settings.SharedSetup,
  played: dict,
) -> dict[str, dict]:
  """Measures baselines with the base model and the arm with most rounds.

  Args:
    config: settings; the first seed counts.
    setup: model and data.
    played: by (seed, arm name), round summaries, the base first.

  Returns:
    By label, scores from `baselines.measure_baselines`.
  """
  seed = config.seeds[0]
  arm = max(config.arms, key=lambda arm: len(played[seed, arm.name]))
  last = len(played[seed, arm.name]) - 1
  learned, _ = trained_model.restore_parts(
    str(setup.root / f'seed_{seed}' / arm.name / 'checkpoints' / str(last)),
    setup.base,
  )
  blank = blank_codes(setup.base)
  return {
    label: baselines.measure_baselines(
      dataclasses.replace(setup.base, model=model),
      setup.data.held_out,
      setup.data.judge,
      blank,
    )
    for label, model in (
      ('base', setup.base.model),
      (f'{arm.label}, round {last}', learned),
    )
  }


def blank_codes(unified: unified_model.UnifiedModel) -> np.ndarray:
  """Returns int[I], codes of an image in the background's light gray."""
  height, width = (side * unified.tokenizer.reduction for side in unified.grid)
  image = np.broadcast_to(
    np.array(shape_world.BACKGROUND, np.uint8), (1, height, width, 3)
  )
  return unified.encode(np.ascontiguousarray(image))[0]
