"""The main job: self-play rounds of curation, Pair-DPO and evaluation."""

from collections.abc import Callable
import dataclasses
import functools
import json
import resource
import sys
import time

import jax

from hermesflow_jax import console as console_lib
from hermesflow_jax import events
from hermesflow_jax import inference
from hermesflow_jax import processes
from hermesflow_jax import self_play
from hermesflow_jax import settings
from hermesflow_jax import storage
from hermesflow_jax import story
from hermesflow_jax import text_similarity
from hermesflow_jax.data import files
from hermesflow_jax.data import shapes_records
from hermesflow_jax.evaluation import changes
from hermesflow_jax.evaluation import gap
from hermesflow_jax.evaluation import judge
from hermesflow_jax.jobs import common
from hermesflow_jax.jobs import inputs as inputs_lib
from hermesflow_jax.jobs import start


@dataclasses.dataclass(frozen=True)
class Files:
  """Data of one's own in place of the embedded world.

  Attributes:
    inputs: image-caption inputs for preferences.
    held_out: for evaluation.
  """

  inputs: files.Source
  held_out: files.Source


@dataclasses.dataclass(frozen=True)
class Settings(start.Start):
  """Settings of the job.

  Attributes:
    world: the embedded world.
    files: data in its place; None for the embedded world.
    inputs: image-caption inputs for preferences in a round.
    fresh_inputs: each round has its own; otherwise all have the same, as in
      the paper.
    held_out: scenes for evaluation.
    held_out_split: 'eval'; 'final' for the split that is looked at once;
      'preference', of another seed than the inputs, to try settings on.
    play: the rounds.
    gallery: held-out captions, and pairs, shown in the report.
  """

  world: common.World
  files: Files | None
  inputs: int
  fresh_inputs: bool
  held_out: int
  held_out_split: str
  play: self_play.Play
  gallery: int

  def __post_init__(self):
    super().__post_init__()
    settings.require(self, {'inputs': 1, 'held_out': 2, 'gallery': 1})
    if self.held_out_split not in ('eval', 'final', 'preference'):
      raise ValueError(
          f'held_out_split is {self.held_out_split!r}, wanted '
          "'eval', 'final' or 'preference'"
      )


def run(
    config: Settings, workdir: str, console: console_lib.Console
) -> dict:
  """Plays all rounds; writes and returns what `results.json` holds."""
  began = time.perf_counter()
  root = storage.path(workdir)
  path = start.located(config, console)
  data = []
  if config.files:
    # Their faults are told before any weight is read.
    for source in (config.files.inputs, config.files.held_out):
      files.read(source)
      data.append(files.sums(source))
  mesh = config.mesh.make(config.play.batch, config.play.optim.accumulate)
  parts = start.load(config, path, mesh)
  sums = start.sums(config, path)
  common.claim(workdir, config, console, base=sums, data=data)
  done = root / 'results.json'
  if processes.agreed(done.exists):
    console.say(
        f'this run is finished: see {root / "report.html"}; to start afresh, '
        f'remove {root} or give another --workdir'
    )
    results = json.loads(done.read_text())
    console.say(table(results['rounds']))
    return results
  base = start.unified(config, parts, mesh, console, config.play.free_answers)
  world = world_of(config, base, str(root / 'data'), console)
  rounds = self_play.play(
      base, world, config.play, workdir, console, str(path)
  )
  processes.meet()
  for row in rounds[1:]:
    row['change'] = changes.paired(
        [changes.read(root / 'round_0')],
        [changes.read(root / f'round_{row["round"]}')],
    )
  results = {
      'rounds': rounds,
      'config': json.loads(
          json.dumps(dataclasses.asdict(config), default=str)
      ),
      'seconds': elapsed(rounds, time.perf_counter() - began),
      'peak_memory_gib': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                         / 2**20,
      'versions': {
          'python': sys.version.split()[0], 'jax': jax.__version__,
          'device': jax.devices()[0].device_kind,
      },
  }
  story.tell(root, results, world, base, config.gallery)
  events.write_atomically(done, json.dumps(results, indent=1) + '\n')
  processes.meet()
  console.say(table(rounds))
  console.say(f'report: {root / "report.html"}')
  return results


def world_of(
    config: Settings, base: inference.Unified, data_dir: str,
    console: console_lib.Console,
) -> self_play.World:
  """Generates or reads (once) and encodes what the rounds play with.

  The embedded world's judge reads pixels. Files have no judge, so the base
  model answers about the images of every round.
  """

  def read(source, split, seed, count):
    return inputs_lib.read(
        base, source, config.world, split, seed, count, data_dir, console
    )

  seed, own = config.world.seed, config.files
  inputs = functools.partial(
      read, own and own.inputs, 'preference', seed
  )
  held_out = read(
      own and own.held_out, config.held_out_split,
      seed + (config.held_out_split == 'preference'), config.held_out,
  )
  if own:
    judged_by, answers = 'base model', base.answer
  else:
    judged_by, answers = 'pixels', judge.of_codes(base.decode)
  return self_play.World(
      inputs=preferences(
          inputs, config.inputs, config.play.rounds, config.fresh_inputs
      ),
      held_out=shapes_records.inputs(held_out),
      judge=answers,
      judged_by=judged_by,
      similarity=text_similarity.ngram_cosines,
  )


def preferences(
    records: Callable[[int], list[dict]], count: int, rounds: int, fresh: bool
) -> list[gap.Inputs]:
  """Returns the inputs of each round.

  Args:
    records: number -> so many records.
    count: inputs a round.
    rounds: R.
    fresh: each round has its own.
  """
  rows = records(count * rounds if fresh else count)
  inputs = shapes_records.inputs(rows)
  starts = [count * r if fresh else 0 for r in range(rounds)]
  return [inputs.part(slice(s, s + count)) for s in starts]


def elapsed(rounds: list[dict], seconds: float) -> float:
  """Returns the seconds of a run: of this start, or of all phases if more.

  A resumed run skips phases, but each phase keeps how long it took.
  """
  phases = sum(sum(row['seconds'].values()) for row in rounds)
  return max(seconds, phases)


def table(rounds: list[dict]) -> str:
  """Returns the headline table as text."""
  lines = ['round  understanding   generation      gap']
  for row in rounds:
    cells = [
        f'{row[name]:.3f} +- {row[name + "_se"]:.3f}'
        for name in ('understanding', 'generation', 'gap')
    ]
    lines.append(f'{row["round"]:>5}  ' + '  '.join(cells))
  return '\n'.join(lines)
