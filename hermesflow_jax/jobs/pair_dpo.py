"""Main job: self-play rounds with curation, Pair-DPO and evaluation."""

from __future__ import annotations

import dataclasses
import functools
import resource
import sys
import time
import typing

import jax

from hermesflow_jax.jobs.setup import job_start
from hermesflow_jax.jobs.setup import reading_model
from hermesflow_jax.judging import judge_settings
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal

with lazy_modules.on_first_use():
  from hermesflow_jax.data import input_set
  from hermesflow_jax.data import record_files
  from hermesflow_jax.jobs.setup import job_inputs
  from hermesflow_jax.jobs.setup import job_judging
  from hermesflow_jax.jobs.setup import job_model
  from hermesflow_jax.jobs.setup import job_results
  from hermesflow_jax.jobs.setup import job_scoring
  from hermesflow_jax.jobs.setup import judge_record
  from hermesflow_jax.jobs.setup import judged_job
  from hermesflow_jax.jobs.setup import model_hashes
  from hermesflow_jax.jobs.setup import official_files
  from hermesflow_jax.jobs.setup import play_files
  from hermesflow_jax.reports import run_story
  from hermesflow_jax.sampling import unified_model
  from hermesflow_jax.self_play import play_settings
  from hermesflow_jax.self_play import rounds
  from hermesflow_jax.self_play import run_summary
  from hermesflow_jax.self_play import score_table
  from hermesflow_jax.shapes import shape_world


@dataclasses.dataclass(frozen=True)
class OwnFiles:
  """The user's image-caption records, which replace the embedded world.

  Attributes:
    inputs: records for preference pairs.
    held_out: records for evaluation.
  """

  inputs: record_files.Source
  held_out: record_files.Source


@dataclasses.dataclass(frozen=True)
class Settings(reading_model.ReadingSettings):
  """Job settings.

  Attributes:
    world: embedded world.
    files: the user's records; None for the embedded world.
    inputs: image-caption inputs per round.
    fresh_inputs: whether each round has its own inputs; otherwise all rounds
      have the same inputs, as in the paper.
    held_out: scenes for evaluation.
    held_out_split: their split: 'eval'; 'final' for final results
      only; 'preference' with another seed than the inputs, to try settings.
    unseen: more scenes from that split, whose captions no input has; 0 for
      none. With files, the held-out records with such captions.
    answer_inputs: more scenes, without candidates, whose questions
      `play.objective.answers` also learns from; 0 with files.
    play: settings for the rounds.
    gallery: held-out captions, and pairs, that the report shows.
    official: whether each round also writes files for the official code, with
      PNG images; see `curation.official_pair_writer`.
    judge: judge of generated images.
  """

  world: shape_world.World
  files: OwnFiles | None
  inputs: settings.PositiveInt
  fresh_inputs: bool
  held_out: typing.Annotated[int, settings.at_least(2)]
  held_out_split: typing.Annotated[
    str, settings.one_of('eval', 'final', 'preference')
  ]
  play: play_settings.PlayConfig
  gallery: settings.PositiveInt = settings.may_change_on_resume()
  official: bool = settings.may_change_on_resume(default=False)
  unseen: settings.NonNegativeInt = settings.may_change_on_resume(default=0)
  judge: judge_settings.JudgeSettings = judge_settings.JudgeSettings()
  answer_inputs: settings.NonNegativeInt = settings.of_learning(default=0)

  def __post_init__(self):
    super().__post_init__()
    if self.unseen == 1:
      raise ValueError('unseen must be 0 or at least 2, got 1')
    job_inputs.check_answer_inputs(self.answer_inputs, self.files)
    reading_model.check_compat(self.vision, self.play.compat)

  @property
  def inputs_of_all_rounds(self) -> int:
    """Input count over all rounds."""
    return self.inputs * (self.play.rounds if self.fresh_inputs else 1)


@job_start.releases_workdir
def run(config: Settings, workdir: str, console: terminal.Console) -> dict:
  """Runs or resumes self-play; writes `results.json` and `report.html`.

  A finished run continues if `play.rounds` is larger than before.

  Raises:
    ValueError: unusable setting, file or workdir, or
      more than `play.rounds` rounds are finished.
  """
  began = time.perf_counter()
  root = storage.path(workdir)
  files = vars(config.files) if config.files else {}
  path = job_start.locate_model(config, console, files)
  hashes, images = play_files.check_files(config, path, console)
  job_scoring.check(config.play, '--config.play')
  judged = judged_job.of_self_play(config)
  job_judging.check(judged, root, console)
  mesh = job_model.make_mesh(
    config, path, console, config.play.batch, config.play.optim.accumulate
  )
  weights = model_hashes.weight_hashes(config, path)
  text = model_hashes.text_identity(config, path)
  run_summary.check_rounds(root, config.play.rounds)
  results = job_start.claim_and_read_results(
    workdir,
    config,
    console,
    'results.json',
    run_summary.is_complete,
    contents=job_start.input_hashes(text.sha256, images)
    | job_scoring.encoder_hashes(config.play)
    | job_judging.content_hashes(judged),
    base=weights,
    data=hashes,
    **text.choices,
  )
  finished = results.get('rounds', []) if results else []

  def load_data():
    parts = job_model.load_parts(config, path, mesh)
    base = job_scoring.place_on_mesh(config, parts, mesh, console, config.play)
    return base, play_data(config, base, str(root / 'data'), console)

  # Models of rounds before the newest may have been removed to save space.
  if len(finished) > config.play.rounds and job_start.all_exist(
    console,
    lambda: run_summary.missing_files(root, config.play.rounds),
    root / 'checkpoints' / str(config.play.rounds),
  ):
    if config.official:
      official_files.write_of_rounds(root, config.play.rounds, load_data)
    job_start.report_finished(
      console,
      workdir,
      root / 'report.html',
      'to play more rounds, give a larger --config.play.rounds; ',
    )
    console.say(score_table.score_table(finished))
    return results
  if finished:
    console.say(
      f'{len(finished) - 1} of {config.play.rounds} rounds are finished, '
      'continuing'
    )
  base, data = load_data()
  console.say(judge_record.describe(data.judge_record))
  summaries = rounds.play_rounds(
    base, data, config.play, workdir, console, str(path)
  )
  processes.barrier()
  run_summary.add_changes(summaries, root)
  results = {
    'rounds': summaries,
    'judge': run_summary.judge_record(data.judge_record, summaries),
    'config': settings.to_json_types(config),
    'seconds': run_summary.total_seconds(
      summaries, time.perf_counter() - began
    ),
    'peak_memory_gib': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    / 2**20,
    'versions': {
      'python': sys.version.split()[0],
      'jax': jax.__version__,
      'device': jax.devices()[0].device_kind,
    },
  }
  run_story.write_from_run(
    root, results, data, base, config.gallery, console.command
  )
  job_results.write_json(root / 'results.json', results)
  processes.barrier()
  console.say(score_table.score_table(summaries))
  console.say(f'report: {root / "report.html"}')
  return results


def play_data(
  config: Settings,
  base: unified_model.UnifiedModel,
  data_dir: str,
  console: terminal.Console,
) -> play_settings.PlayData:
  """Returns inputs, held-out inputs and judge for self-play.

  Args:
    config: job settings.
    base: base model, whose tokenizer encodes images.
    data_dir: folder that keeps generated or encoded records.
    console: prints which records are left out.

  Raises:
    ValueError: the files have too few records.
  """

  def read(source, split, seed, count):
    return job_inputs.read_inputs(
      base, source, config.world, split, seed, count, data_dir, console
    )

  seed, files = config.world.seed, config.files
  inputs = play_settings.round_inputs(
    functools.partial(read, files and files.inputs, 'preference', seed),
    config.inputs,
    config.play.rounds,
    config.fresh_inputs,
  )
  held_out_seed = seed + (config.held_out_split == 'preference')
  held_out = input_set.from_records(
    read(
      files and files.held_out,
      config.held_out_split,
      held_out_seed,
      config.held_out,
    )
  )
  answers = job_inputs.answer_scenes(
    base, config.world, config.answer_inputs, data_dir
  )
  known = play_settings.captions_of(inputs, answers)
  if files:
    unseen = job_inputs.new_caption_subset(held_out, known)
  else:
    unseen = job_inputs.unseen_scenes(
      base,
      config.world,
      config.held_out_split,
      held_out_seed,
      config.held_out,
      config.unseen,
      known,
    )
  root = storage.path(data_dir).parent
  judged = judged_job.of_self_play(config)
  judge, record = job_judging.make(judged, base, root, console)
  similarity, image_scorer = job_scoring.make_scorers(
    config.play, base.mesh, root, console
  )
  return play_settings.PlayData(
    inputs=inputs,
    held_out=held_out,
    judge=judge,
    judge_record=record,
    similarity=similarity,
    image_scorer=image_scorer,
    unseen=unseen,
    answer_inputs=answers,
    publish=official_files.make_writer(files and files.inputs, console)
    if config.official
    else None,
  )
