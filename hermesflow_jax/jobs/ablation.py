"""Arms of a comparison, each of several seeds, from the same candidates.

What HermesFlow (arXiv 2502.12148) compares in table 5 with one seed: DPO of
either task alone and rounds of Pair-DPO; here with seeds, a rate for each arm,
and tests scene by scene.
"""

from collections.abc import Sequence
import dataclasses
import json
import math
import pathlib
import time

import numpy as np

from hermesflow_jax import arms as arms_lib
from hermesflow_jax import console as console_lib
from hermesflow_jax import events
from hermesflow_jax import inference
from hermesflow_jax import self_play
from hermesflow_jax import settings
from hermesflow_jax import storage
from hermesflow_jax import trained
from hermesflow_jax.data import shapes
from hermesflow_jax.evaluation import floors
from hermesflow_jax.evaluation import scenes
from hermesflow_jax.jobs import common
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs import start
from hermesflow_jax.reporting import comparison
from hermesflow_jax.reporting import scores as scores_lib


@dataclasses.dataclass(frozen=True)
class Point:
  """An arm of a sweep after a round, and the value of the setting there."""

  at: str
  arm: str
  round: int = 1


@dataclasses.dataclass(frozen=True)
class Sweep:
  """Arms that differ in one setting, in order."""

  title: str
  points: tuple[Point, ...]


@dataclasses.dataclass(frozen=True)
class Settings:
  """Settings of the job.

  Attributes:
    command: what started the job, for the page.
    variant: of the config.
    self_play: what all arms have; `play.images` is how many candidates there
      are, `play.rounds` for how many rounds there are inputs.
    seeds: S seeds.
    arms: in the order of the tables.
    against: the arm that the others are compared with, after as many rounds.
    sweeps: tables of arms that differ in one setting.
    search_scenes: of the preference split, on which the arms' learning rates
      are chosen, with the first seed.
  """

  command: str = settings.free()
  variant: str
  self_play: pair_dpo.Settings
  seeds: tuple[int, ...]
  arms: tuple[arms_lib.Arm, ...]
  against: str
  sweeps: tuple[Sweep, ...]
  search_scenes: int

  def __post_init__(self):
    settings.require(self, {'search_scenes': 2})
    if not self.seeds or len(set(self.seeds)) < len(self.seeds):
      raise ValueError(f'seeds is {self.seeds}, wanted different numbers')
    if min(self.seeds) < 0:
      raise ValueError(f'seeds is {self.seeds}, wanted no negative number')
    for arm in self.arms:
      play = arm.play(self.self_play.play, self.seeds[0])
      if play.rounds > self.self_play.play.rounds:
        raise ValueError(
          f'arm {arm.name} has {play.rounds} rounds, wanted at most '
          f'{self.self_play.play.rounds}, for which there are inputs'
        )
    names = [arm.name for arm in self.arms]
    if len(set(names)) < len(names):
      raise ValueError(f'arms of the same name: {", ".join(sorted(names))}')
    used = {self.against} | {
      point.arm for sweep in self.sweeps for point in sweep.points
    }
    if missing := sorted(used - set(names)):
      raise ValueError(f'no such arms: {", ".join(missing)}')
    rounds_of_arm = self.rounds
    for sweep in self.sweeps:
      for point in sweep.points:
        if not 1 <= point.round <= rounds_of_arm[point.arm]:
          raise ValueError(
            f'sweep {sweep.title}: arm {point.arm} has '
            f'{rounds_of_arm[point.arm]} '
            f'rounds, so none of number {point.round}'
          )

  @property
  def rounds(self) -> dict[str, int]:
    """How many rounds each arm plays."""
    return {
      arm.name: arm.play(self.self_play.play, self.seeds[0]).rounds
      for arm in self.arms
    }

  @property
  def tested(self) -> pair_dpo.Settings:
    """What learning rates are searched with: scenes like the inputs."""
    return dataclasses.replace(
      self.self_play, held_out_split='preference', held_out=self.search_scenes
    )


@dataclasses.dataclass(frozen=True)
class Bench:
  """What all arms share.

  Attributes:
    base: the model.
    world: with the scenes of the comparison.
    tested: with those of the search.
    root: of the job.
    console: shows progress.
  """

  base: inference.Unified
  world: self_play.World
  tested: self_play.World
  root: pathlib.PurePath
  console: console_lib.Console

  def pool(self, config: Settings, seed: int) -> arms_lib.Pool:
    """Returns the candidates of a seed."""
    play = dataclasses.replace(config.self_play.play, seed=seed)
    return arms_lib.Pool(
      self.base,
      self.world,
      play,
      self.root / f'seed_{seed}' / 'base',
      self.console,
    )


def run(config: Settings, workdir: str, console: console_lib.Console) -> dict:
  """Plays all arms; writes and returns `results.json`, tables and a page.

  Tables and page are there after each seed, of the seeds so far.
  """
  began = time.perf_counter()
  root = storage.path(workdir)
  path = start.located(config.self_play, console)
  play = config.self_play.play
  mesh = start.mesh(
    config.self_play, path, console, play.batch, play.optim.accumulate
  )
  parts = start.load(config.self_play, path, mesh)
  common.claim(
    workdir, config, console, base=start.sums(config.self_play, path)
  )
  done = root / 'results.json'
  if done.exists():
    console.say(
      f'this comparison is finished; to start afresh, remove {root} or give '
      'another --workdir'
    )
    return shown(json.loads(done.read_text()), root, console)
  play = config.self_play.play
  base = start.unified(
    config.self_play, parts, mesh, console, play.answering, play.caption_prompt
  )

  def world(settings_):
    return pair_dpo.world_of(settings_, base, str(root / 'data'), console)

  bench = Bench(
    base, world(config.self_play), world(config.tested), root, console
  )
  search = searched(config, bench)
  played = {}
  for number, seed in enumerate(config.seeds, 1):
    pool = bench.pool(config, seed)
    for arm in config.arms:
      console.say(f'seed {seed}: {arm.label}')
      chosen = search.get(arm.name, {}).get('chosen')
      folder = root / f'seed_{seed}' / arm.name
      if chosen and seed == config.seeds[0]:
        tried = root / 'search' / arm.name / f'{chosen:g}'
        arms_lib.lend(tried, folder, base)
      played[seed, arm.name] = arms_lib.run(
        base,
        bench.world,
        pool,
        arm,
        arm.play(config.self_play.play, seed, chosen),
        folder,
        root / f'seed_{seed}' / 'base' / 'round_0',
        console,
      )
    if number < len(config.seeds):
      first = dataclasses.replace(config, seeds=config.seeds[:number])
      write_tables(told(first, bench, search, played), root, console)
  results = told(config, bench, search, played) | {
    'floors': floors_of(config, bench, played),
    'seconds_of_last_start': time.perf_counter() - began,
  }
  events.write_atomically(
    done, json.dumps(results, indent=1, allow_nan=False) + '\n'
  )
  return shown(results, root, console)


def told(config: Settings, bench: Bench, search: dict, played: dict) -> dict:
  """Returns results, as JSON types, of the seeds of `config`."""
  return {
    'command': config.command,
    'seeds': list(config.seeds),
    'scenes': len(bench.world.held_out),
    'split': config.self_play.held_out_split,
    'against': next(
      arm.label for arm in config.arms if arm.name == config.against
    ),
    'models': models(config, bench, search, played),
    'rounds_of': [name for name, count in config.rounds.items() if count > 1]
    or [config.against],
    'sweeps': {
      sweep.title: swept(config, bench, sweep) for sweep in config.sweeps
    },
    'search': search,
    'floors': {},
    'config': json.loads(json.dumps(dataclasses.asdict(config), default=str)),
  }


def write_tables(
  results: dict, root: pathlib.PurePath, console: console_lib.Console
) -> None:
  """Writes the tables of results: `table.md` and `report.html`."""
  events.write_atomically(root / 'table.md', comparison.markdown(results))
  events.write_atomically(root / 'report.html', comparison.page(results))
  seeds = ', '.join(str(seed) for seed in results['seeds'])
  console.say(f'report of seeds {seeds}: {root / "report.html"}')


def shown(
  results: dict, root: pathlib.PurePath, console: console_lib.Console
) -> dict:
  """Writes and prints the tables of results, and returns these."""
  console.say(comparison.markdown(results))
  write_tables(results, root, console)
  return results


def searched(config: Settings, bench: Bench) -> dict[str, dict]:
  """Tries all rates with the first seed; returns what was found, by arm."""
  wanted = [arm for arm in config.arms if arm.rates]
  if not wanted:
    return {}
  seed, root = config.seeds[0], bench.root / 'search'
  pool = bench.pool(config, seed)
  play = dataclasses.replace(config.self_play.play, seed=seed)
  scored = root / 'base'
  self_play.evaluated(
    dataclasses.replace(bench.base),
    bench.tested,
    play,
    scored,
    bench.console,
    learned=False,
  )
  out = {}
  for arm in wanted:
    tried = {}
    for rate in arm.rates:
      bench.console.say(f'search: {arm.label}, rate {rate:g}')
      one = arm.play(config.self_play.play, seed, rate)
      tried[rate] = arms_lib.run(
        bench.base,
        bench.tested,
        pool,
        arm,
        dataclasses.replace(one, rounds=1),
        root / arm.name / f'{rate:g}',
        scored,
        bench.console,
      )[1]
    kept = [f'{k}{se}' for k in scores_lib.SCORES for se in ('', '_se')]
    out[arm.name] = {
      'label': arm.label,
      'chosen': arms_lib.best(tried),
      'rates': {
        f'{rate:g}': {k: one[k] for k in kept} for rate, one in tried.items()
      },
    }
  return out


def read(
  config: Settings, bench: Bench, arm: str, number: int
) -> list[dict[str, dict]]:
  """Returns the scores of scenes after a round of an arm, of each seed."""
  learned = {c for inputs in bench.world.inputs for c in inputs.captions}
  return [
    scenes.read(
      bench.root / f'seed_{seed}' / arm / f'round_{number}',
      bench.world.held_out,
      learned,
    )
    for seed in config.seeds
  ]


def swept(config: Settings, bench: Bench, sweep: Sweep) -> list[dict]:
  """Returns the points of a sweep as JSON types.

  All but the one that has the setting of the arm `against` say how they differ
  from it.
  """
  usual = next(
    (point for point in sweep.points if point.arm == config.against), None
  )
  rows = [dataclasses.asdict(point) for point in sweep.points]
  if usual:
    before = read(config, bench, usual.arm, usual.round)
    for row, point in zip(rows, sweep.points):
      if point != usual:
        row['against'] = changes(
          before, read(config, bench, point.arm, point.round)
        )
  return rows


def models(
  config: Settings, bench: Bench, search: dict, played: dict
) -> list[dict]:
  """Returns one row of results for the base and for each round of each arm."""
  base = read(config, bench, 'base', 0)
  last = config.rounds[config.against]
  # An arm of several rounds is compared with what had as many, if it may.
  against = {
    number: read(config, bench, config.against, number)
    for number in range(1, last + 1)
  }
  out = [{'label': 'base', 'arm': '', 'round': 0, 'scores': levels(base)}]
  for arm in config.arms:
    name, play = arm.name, arm.play(config.self_play.play, 0)
    for number in range(1, play.rounds + 1):
      runs = read(config, bench, name, number)
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
        'scores': levels(runs),
        'base': changes(base, runs),
      }
      other = 1 if name == config.against else min(number, last)
      if (name, number) != (config.against, other):
        row['against'] = changes(against[other], runs)
      out.append(row)
  return out


def levels(runs: Sequence[dict]) -> dict[str, dict]:
  """Returns the mean of each score, and of the six tasks together."""
  found = {name: scenes.mean([run[name] for run in runs]) for name in runs[0]}
  tasks = [found[n] for n in found if n.startswith('geneval/')]
  if tasks:
    # Over scenes, tasks would differ by more than models do.
    found[scenes.SIX] = scenes.average(tasks)
  return {name: said(one) for name, one in found.items()}


def changes(before: Sequence[dict], after: Sequence[dict]) -> dict[str, dict]:
  """Returns the difference of each score, and whether it stands."""
  out = {}
  for name in before[0]:
    one = scenes.difference(
      [run[name] for run in before], [run[name] for run in after]
    )
    out[name] = said(one) | {'stands': one.stands}
  return out


def said(found: scenes.Mean | scenes.Difference) -> dict:
  """Returns it as JSON types: what nobody knows, as of one scene, is None."""
  return {
    name: None if isinstance(value, float) and math.isnan(value) else value
    for name, value in dataclasses.asdict(found).items()
  }


def floors_of(config: Settings, bench: Bench, played: dict) -> dict[str, dict]:
  """Returns floors of the base model, and of the arm with the most rounds."""
  seed = config.seeds[0]
  arm = max(config.arms, key=lambda arm: len(played[seed, arm.name]))
  last = len(played[seed, arm.name]) - 1
  learned, _ = trained.restore(
    str(bench.root / f'seed_{seed}' / arm.name / 'checkpoints' / str(last)),
    bench.base,
  )
  blank = blank_codes(bench.base)
  return {
    label: floors.measure(
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


def blank_codes(unified: inference.Unified) -> np.ndarray:
  """Returns int[I], the codes of an image of one light grey."""
  height, width = (side * unified.tokenizer.reduction for side in unified.grid)
  image = np.broadcast_to(
    np.array(shapes.BACKGROUND, np.uint8), (1, height, width, 3)
  )
  return unified.encode(np.ascontiguousarray(image))[0]
