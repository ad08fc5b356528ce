"""The job `seeds`: self-play with several seeds, each beside a control.

A single seed says little, and any further training may change a model. So each
seed has a control: the base model, pretrained for as many more steps, with as
many rows, at the same learning rate, and evaluated on the same scenes.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib

from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal

with lazy_modules.on_first_use():
  from hermesflow_jax.evaluation import paired_changes
  from hermesflow_jax.experiments import ablation_settings
  from hermesflow_jax.experiments import pretraining_control
  from hermesflow_jax.experiments import seed_tables
  from hermesflow_jax.jobs import pair_dpo
  from hermesflow_jax.jobs.setup import job_judging
  from hermesflow_jax.jobs.setup import job_model
  from hermesflow_jax.jobs.setup import job_scoring
  from hermesflow_jax.jobs.setup import job_start
  from hermesflow_jax.jobs.setup import judged_job
  from hermesflow_jax.jobs.setup import model_hashes
  from hermesflow_jax.jobs.setup import play_files
  from hermesflow_jax.judging import judge_settings


@dataclasses.dataclass(frozen=True)
class Settings:
  """Settings of the job.

  Attributes:
    self_play: settings of a run; its seed is replaced.
    seeds: S different seeds.
    control: settings of the controls.
  """

  self_play: pair_dpo.Settings
  seeds: tuple[int, ...]
  control: pretraining_control.Control

  def __post_init__(self):
    ablation_settings.check_seeds(self.seeds)


@workdir_claim.releases_workdir
def run(config: Settings, workdir: str, console: terminal.Console) -> dict:
  """Runs self-play and a control with each seed.

  Args:
    config: job settings.
    workdir: job folder.
    console: shows progress and tables.

  Returns:
    The JSON object in `results.json`; `table.md` has its tables.

  Raises:
    ValueError: a setting, a file or the folder cannot be used.
  """
  root = storage.path(workdir)
  path = job_model.locate(config.self_play, console)
  job_scoring.check(config.self_play.play, '--config.self_play.play')
  judged = judged_job.of_self_play(config.self_play, '--config.self_play')
  job_judging.check(judged, root, console)
  mesh = job_model.make_mesh(
    config.self_play, path, console, config.control.batches.divisor
  )
  hashes, images = play_files.check_files(config.self_play, path, console)
  text = model_hashes.text_identity(config.self_play, path)
  weights = model_hashes.weight_hashes(config.self_play, path)
  # The number of rounds decides the steps of a control.
  results = job_start.claim_and_read_results(
    workdir,
    config,
    console,
    'results.json',
    _is_complete,
    contents=job_start.input_hashes(text.sha256, images)
    | job_scoring.encoder_hashes(config.self_play.play)
    | job_judging.content_hashes(judged)
    | {'data': lambda: hashes, 'base': lambda: weights},
    rounds=config.self_play.play.rounds,
  )
  if results is not None and job_start.all_exist(
    console, lambda: _missing(root, config)
  ):
    _show_tables(results, root, console)
    job_start.report_finished(console, workdir, root / 'table.md')
    return results
  parts = job_model.load_parts(config.self_play, path, mesh)
  rows = []
  for seed in config.seeds:
    self_play = dataclasses.replace(
      config.self_play,
      judge=_without_probe(config.self_play.judge),
      play=dataclasses.replace(config.self_play.play, seed=seed),
    )
    console.say(f'seed {seed}')
    played = pair_dpo.run(self_play, str(root / f'seed_{seed}'), console)
    base = job_scoring.place_on_mesh(
      config.self_play, parts, mesh, console, config.self_play.play
    )
    steps = sum(row['learned']['steps'] for row in played['rounds'][1:])
    rows.append(
      {
        'seed': seed,
        'rounds': played['rounds'],
        'seconds': played['seconds'],
        'control': pretraining_control.continue_pretraining(
          base, self_play, config.control, steps, root, seed, console
        ),
      }
    )
  results = {
    'seeds': rows,
    'means': seed_tables.mean_scores(rows),
    'changes': changes_of_seeds(root, config),
    'config': json.loads(json.dumps(dataclasses.asdict(config), default=str)),
  }
  unseen = seed_tables.unseen_scores(rows)
  if unseen:
    results['unseen'] = {
      'means': seed_tables.mean_scores(unseen),
      'changes': changes_of_seeds(root, config, 'scenes_unseen'),
    }
  output_files.write_atomically(
    root / 'results.json', json.dumps(results, indent=1) + '\n'
  )
  _show_tables(results, root, console)
  return results


def _is_complete(results) -> bool:
  """Returns whether results have what the tables show."""
  try:
    seed_tables.seeds_table(results)
  except (KeyError, TypeError, ValueError, AttributeError, IndexError):
    return False
  return True


def _missing(root, config) -> list:
  """Returns the results of single seeds that are gone."""
  files = [
    root / folder / name
    for seed in config.seeds
    for folder, name in (
      (f'seed_{seed}', 'results.json'),
      (f'control_{seed}', 'evaluation.json'),
    )
  ]
  return [file for file in files if not file.exists()]


def _show_tables(results, root, console):
  """Writes `table.md` and prints it."""
  text = seed_tables.seeds_table(results)
  output_files.write_atomically(root / 'table.md', text + '\n')
  console.say(text)


def _without_probe(
  judge: judge_settings.JudgeSettings,
) -> judge_settings.JudgeSettings:
  """Returns the judge of a seed: `run` has tested an endpoint for all seeds."""
  if judge.kind != 'endpoint':
    return judge
  return dataclasses.replace(judge, probe=False)


def changes_of_seeds(
  root: pathlib.PurePath, config: Settings, scenes: str = 'scenes'
) -> dict:
  """Returns paired changes since the base model and since the control.

  Args:
    root: job folder.
    config: job settings.
    scenes: 'scenes' or 'scenes_unseen', see `paired_changes.read_scores`.

  Returns:
    By title, changes from `paired_changes.paired_change`.
  """

  def read(name):
    return [
      paired_changes.read_scores(root / name.format(seed), scenes)
      for seed in config.seeds
    ]

  base, control = read('seed_{}/round_0'), read('control_{}')
  changes = {'control since base': paired_changes.paired_change(base, control)}
  for number in range(1, config.self_play.play.rounds + 1):
    played = read(f'seed_{{}}/round_{number}')
    changes[f'round {number} since base'] = paired_changes.paired_change(
      base, played
    )
    changes[f'round {number} since control'] = paired_changes.paired_change(
      control, played
    )
  return changes
