"""The main job: self-play rounds of curation, Pair-DPO and evaluation."""

from collections.abc import Callable
import dataclasses
import functools
import json
import pathlib
import resource
import sys
import time

import jax

from hermesflow_jax.curation import official_pairs
from hermesflow_jax.data import input_set
from hermesflow_jax.data import record_files
from hermesflow_jax.evaluation import paired_changes
from hermesflow_jax.jobs.setup import job_inputs
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.reports import run_story
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.self_play import play_settings
from hermesflow_jax.self_play import rounds
from hermesflow_jax.sequences import text_similarity
from hermesflow_jax.shapes import pixel_judge
from hermesflow_jax.shapes import shape_world


@dataclasses.dataclass(frozen=True)
class OwnFiles:
  """Data of one's own in place of the embedded world.

  Attributes:
    inputs: image-caption inputs for preferences.
    held_out: for evaluation.
  """

  inputs: record_files.Source
  held_out: record_files.Source


@dataclasses.dataclass(frozen=True)
class Settings(job_model.ModelSettings):
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
    unseen: more scenes of that split for evaluation, whose captions no input
      of any round has; 0 for none. Not of files: there these are the held-out
      records with such captions.
    play: the rounds.
    gallery: held-out captions, and pairs, shown in the report.
    official: each round also writes its pairs in the form of the official
      code, with PNG files; see `data.official`.
  """

  world: shape_world.World
  files: OwnFiles | None
  inputs: int
  fresh_inputs: bool
  held_out: int
  held_out_split: str
  play: play_settings.PlayConfig
  gallery: int = settings.not_identity()
  official: bool = settings.not_identity(default=False)
  unseen: int = settings.not_identity(default=0)

  def __post_init__(self):
    super().__post_init__()
    settings.require(
      self, {'inputs': 1, 'held_out': 2, 'unseen': 0, 'gallery': 1}
    )
    if self.unseen == 1:
      raise ValueError('unseen must be 0 or at least 2, got 1')
    if self.held_out_split not in ('eval', 'final', 'preference'):
      raise ValueError(
        f'held_out_split is {self.held_out_split!r}, wanted '
        "'eval', 'final' or 'preference'"
      )

  @property
  def inputs_of_all_rounds(self) -> int:
    """How many inputs the rounds need together."""
    return self.inputs * (self.play.rounds if self.fresh_inputs else 1)


def run(config: Settings, workdir: str, console: terminal.Console) -> dict:
  """Plays all rounds; writes and returns what `results.json` holds.

  A finished run goes on where `play.rounds` is larger than before.

  Raises:
    ValueError: a setting, a file or the workdir cannot be used, or fewer rounds
      are asked for than were played.
  """
  began = time.perf_counter()
  root = storage.path(workdir)
  path = job_model.locate(config, console)
  data = []
  if config.files:
    # Their faults are told before any weight is read.
    used = []
    for source, count in (
      (config.files.inputs, config.inputs_of_all_rounds),
      (config.files.held_out, config.held_out),
    ):
      records = record_files.read_records(source)
      job_inputs.report_unused(source, len(records), count, console)
      used.append(records[:count])
      data.append(record_files.file_hashes(source))
    job_inputs.report_overlap(*used, console)
  mesh = job_model.make_mesh(
    config, path, console, config.play.batch, config.play.optim.accumulate
  )
  parts = job_model.load_parts(config, path, mesh)
  sums = job_model.weight_hashes(config, path)
  played = processes.broadcast_from_first(lambda: rounds_played(root))
  if config.play.rounds < played:
    raise ValueError(
      f'play.rounds must be at least {played}, the rounds played in {root}, '
      f'got {config.play.rounds}; give another --workdir for fewer'
    )
  workdir_claim.claim_workdir(
    workdir,
    config,
    console,
    base=sums,
    data=data,
    **job_model.answer_encoding(parts.text),
  )
  done = root / 'results.json'
  results = processes.broadcast_from_first(
    lambda: json.loads(done.read_text()) if done.exists() else None
  )
  if results and len(results['rounds']) > config.play.rounds:
    console.say(
      f'this run is finished: see {root / "report.html"}; to play more '
      'rounds, give a larger --config.play.rounds; to start afresh, remove '
      f'{root} or give another --workdir'
    )
    console.say(scores_table(results['rounds']))
    return results
  if results:
    console.say(
      f'{len(results["rounds"]) - 1} rounds are finished: goes on to '
      f'{config.play.rounds}'
    )
  base = job_model.place_on_mesh(
    config,
    parts,
    mesh,
    console,
    config.play.answering,
    config.play.caption_prompt,
  )
  world = play_data(config, base, str(root / 'data'), console)
  summaries = rounds.play_rounds(
    base, world, config.play, workdir, console, str(path)
  )
  processes.barrier()
  for row in summaries[1:]:
    row['change'] = paired_changes.paired_change(
      [paired_changes.read_scores(root / 'round_0')],
      [paired_changes.read_scores(root / f'round_{row["round"]}')],
    )
    if row.get('unseen'):
      row['unseen']['change'] = paired_changes.paired_change(
        [paired_changes.read_scores(root / 'round_0', 'scenes_unseen')],
        [
          paired_changes.read_scores(
            root / f'round_{row["round"]}', 'scenes_unseen'
          )
        ],
      )
  results = {
    'rounds': summaries,
    'config': json.loads(json.dumps(dataclasses.asdict(config), default=str)),
    'seconds': total_seconds(summaries, time.perf_counter() - began),
    'peak_memory_gib': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    / 2**20,
    'versions': {
      'python': sys.version.split()[0],
      'jax': jax.__version__,
      'device': jax.devices()[0].device_kind,
    },
  }
  run_story.write_from_run(
    root, results, world, base, config.gallery, console.command
  )
  output_files.write_atomically(done, json.dumps(results, indent=1) + '\n')
  processes.barrier()
  console.say(scores_table(summaries))
  console.say(f'report: {root / "report.html"}')
  return results


def rounds_played(root: pathlib.PurePath) -> int:
  """Returns the number of the newest round whose model is in a run's folder."""
  names = storage.list_names(root / 'checkpoints')
  return max((int(name) for name in names if name.isdecimal()), default=0)


def play_data(
  config: Settings,
  base: unified_model.UnifiedModel,
  data_dir: str,
  console: terminal.Console,
) -> play_settings.PlayData:
  """Generates or reads (once) and encodes what the rounds play with.

  The embedded world's judge reads pixels. Files have no judge, so the base
  model answers about the images of every round.
  """

  def read(source, split, seed, count):
    return job_inputs.read_inputs(
      base, source, config.world, split, seed, count, data_dir, console
    )

  seed, own = config.world.seed, config.files
  inputs = round_inputs(
    functools.partial(read, own and own.inputs, 'preference', seed),
    config.inputs,
    config.play.rounds,
    config.fresh_inputs,
  )
  other = seed + (config.held_out_split == 'preference')
  held_out = input_set.from_records(
    read(own and own.held_out, config.held_out_split, other, config.held_out)
  )
  known = {caption for part in inputs for caption in part.captions}
  if own:
    judged_by, judge = (
      play_settings.BASE_MODEL,
      functools.partial(_answers, base),
    )
    unseen = job_inputs.new_caption_subset(held_out, known)
  else:
    judged_by, judge = 'pixels', pixel_judge.judge_of_codes(base.decode)
    unseen = job_inputs.unseen_scenes(
      base,
      config.world,
      config.held_out_split,
      other,
      config.held_out,
      config.unseen,
      known,
    )
  return play_settings.PlayData(
    inputs=inputs,
    held_out=held_out,
    judge=judge,
    judged_by=judged_by,
    similarity=text_similarity.get_scorer(config.play.caption_scorer),
    unseen=unseen,
    publish=config.official
    and functools.partial(
      official_pairs.write_official,
      say=console.say,
      known=own
      and official_pairs.known_fields(record_files.read_records(own.inputs)),
    )
    or None,
  )


def _answers(base, codes, questions):
  """Answers of a model that keeps no copy for samplers after the call."""
  return dataclasses.replace(base).answer(codes, questions)


def round_inputs(
  records: Callable[[int], list[dict]], count: int, rounds: int, fresh: bool
) -> list[input_set.Inputs]:
  """Returns the inputs of each round.

  Args:
    records: number -> so many records.
    count: inputs a round.
    rounds: R.
    fresh: each round has its own.
  """
  rows = records(count * rounds if fresh else count)
  inputs = input_set.from_records(rows)
  starts = [count * r if fresh else 0 for r in range(rounds)]
  return [inputs.part(slice(s, s + count)) for s in starts]


def total_seconds(summaries: list[dict], seconds: float) -> float:
  """Returns the seconds of a run: of this start, or of all phases if more.

  A resumed run skips phases, but each phase keeps how long it took.
  """
  phases = sum(sum(row['seconds'].values()) for row in summaries)
  return max(seconds, phases)


def scores_table(summaries: list[dict]) -> str:
  """Returns the headline table as text; unseen captions below the others."""
  lines = ['round  understanding   generation      gap', *_lines(summaries)]
  unseen = [
    row['unseen'] | {'round': row['round']}
    for row in summaries
    if row.get('unseen')
  ]
  if unseen:
    lines.append(
      f'on {unseen[0]["scenes"]} scenes whose captions no input has:'
    )
    lines += _lines(unseen)
  return '\n'.join(lines)


def _lines(rows):
  """One line of scores for each round."""
  return [
    f'{row["round"]:>5}  '
    + '  '.join(
      f'{row[name]:.3f} +- {row[name + "_se"]:.3f}'
      for name in ('understanding', 'generation', 'gap')
    )
    for row in rows
  ]
