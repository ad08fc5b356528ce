"""The job `ablation`: arms from the same candidates, with several seeds.

HermesFlow (arXiv 2502.12148) compares DPO of either task alone and rounds of
Pair-DPO in table 5, with a single seed. This job adds seeds, a learning rate
for each arm, and tests scene by scene.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import pathlib
import time

from hermesflow_jax.experiments import ablation_settings
from hermesflow_jax.jobs.setup import job_start
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal

with lazy_modules.on_first_use():
  from hermesflow_jax.experiments import ablation_results
  from hermesflow_jax.experiments import arm_runs
  from hermesflow_jax.experiments import comparison_arms
  from hermesflow_jax.experiments import searched_scores
  from hermesflow_jax.jobs import pair_dpo
  from hermesflow_jax.jobs.setup import job_judging
  from hermesflow_jax.jobs.setup import job_model
  from hermesflow_jax.jobs.setup import job_scoring
  from hermesflow_jax.jobs.setup import judged_job
  from hermesflow_jax.jobs.setup import model_hashes
  from hermesflow_jax.jobs.setup import play_files
  from hermesflow_jax.reports import comparison_page
  from hermesflow_jax.reports import comparison_tables
  from hermesflow_jax.reports import score_rows
  from hermesflow_jax.self_play import evaluation_phase
  from hermesflow_jax.self_play import play_settings

Settings = ablation_settings.Settings


@job_start.releases_workdir
def run(
  config: ablation_settings.Settings, workdir: str, console: terminal.Console
) -> dict:
  """Runs all arms with all seeds.

  After each seed it writes `table.md` and `report.html` for the seeds so far.

  Args:
    config: job settings.
    workdir: job folder.
    console: shows progress and tables.

  Returns:
    The JSON object in `results.json`.

  Raises:
    ValueError: a setting, a file or the folder cannot be used.
  """
  began = time.perf_counter()
  root = storage.path(workdir)
  path = job_model.locate(config.self_play, console)
  hashes, images = play_files.check_files(config.self_play, path, console)
  play = config.self_play.play
  job_scoring.check(play, '--config.self_play.play')
  own_scorers = arms_with_own_scorers(config)
  for name, arm_play in own_scorers.items():
    job_scoring.check(arm_play, f'arm {name}: changes')
  judged = judged_job.of_self_play(config.self_play, '--config.self_play')
  job_judging.check(judged, root, console)
  mesh = job_model.make_mesh(
    config.self_play, path, console, play.batch, play.optim.accumulate
  )
  results = job_start.claim_and_read_results(
    workdir,
    config,
    console,
    'results.json',
    contents=job_start.input_hashes(
      model_hashes.text_identity(config.self_play, path).sha256, images
    )
    | job_scoring.encoder_hashes(play)
    | {
      name: content_hash
      for arm_play in own_scorers.values()
      for name, content_hash in job_scoring.encoder_hashes(arm_play).items()
    }
    | job_judging.content_hashes(judged)
    | {'data': lambda: hashes},
    base=model_hashes.weight_hashes(config.self_play, path),
  )
  if results is not None:
    job_start.report_finished(console, workdir, root / 'report.html')
    return show_tables(results, root, console)
  parts = job_model.load_parts(config.self_play, path, mesh)
  base = job_scoring.place_on_mesh(config.self_play, parts, mesh, console, play)

  def play_data(self_play):
    return pair_dpo.play_data(self_play, base, str(root / 'data'), console)

  setup = ablation_settings.SharedSetup(
    base,
    play_data(config.self_play),
    play_data(config.tested),
    root,
    console,
    make_image_scorers(own_scorers, base.mesh, root, console),
  )
  search = search_rates(config, setup)
  played, searched = {}, {}
  for number, seed in enumerate(config.seeds, 1):
    pool = setup.pool(config, seed)
    for arm in config.arms:
      console.say(f'seed {seed}: {arm.label}')
      chosen = search.get(arm.name, {}).get('chosen')
      folder = root / f'seed_{seed}' / arm.name
      if chosen and seed == config.seeds[0]:
        # The search trained this round with this seed and rate already.
        searched = root / 'search' / arm.name / f'{chosen:g}'
        arm_runs.reuse_first_round(searched, folder, base)
      played[seed, arm.name] = arm_runs.run_arm(
        base,
        setup.with_scorer(setup.data, arm.name),
        pool,
        arm,
        arm.play(config.self_play.play, seed, chosen),
        folder,
        root / f'seed_{seed}' / 'base' / 'round_0',
        console,
      )
    if config.searches:
      console.say(f'seed {seed}: with search')
      of_seed = searched_scores.evaluate(config, setup, seed)
      searched |= {(seed, name): row for name, row in of_seed.items()}
    if number < len(config.seeds):
      so_far = dataclasses.replace(config, seeds=config.seeds[:number])
      write_tables(
        searched_scores.results(so_far, setup, search, played, searched),
        root,
        console,
      )
  results = searched_scores.results(config, setup, search, played, searched) | {
    'floors': ablation_results.measure_baselines(config, setup, played),
    'seconds_of_last_start': time.perf_counter() - began,
  }
  output_files.write_atomically(
    root / 'results.json', output_files.json_text(results)
  )
  return show_tables(results, root, console)


def arms_with_own_scorers(
  config: ablation_settings.Settings,
) -> dict[str, play_settings.PlayConfig]:
  """Returns the settings of arms that score images in another way, by name.

  Args:
    config: job settings.
  """
  plays = {
    arm.name: arm.play(config.self_play.play, config.seeds[0])
    for arm in config.arms
  }
  common = _scorer_settings(config.self_play.play)
  return {
    name: play
    for name, play in plays.items()
    if _scorer_settings(play) != common
  }


def _scorer_settings(play):
  return play.image_scorer, play.http_reward


def make_image_scorers(
  plays: Mapping[str, play_settings.PlayConfig],
  mesh,
  root: pathlib.PurePath,
  console: terminal.Console,
) -> dict:
  """Returns image scorers by arm name; arms with equal settings share one.

  Args:
    plays: settings by arm name.
    mesh: device mesh.
    root: job folder, which keeps the scores of a reward service.
    console: prints how many scores are known.

  Raises:
    ValueError: a reward service does not reply.
  """
  scorers = {}
  for play in plays.values():
    if _scorer_settings(play) not in scorers:
      _, scorer = job_scoring.make_scorers(play, mesh, root, console)
      scorers[_scorer_settings(play)] = scorer
  return {name: scorers[_scorer_settings(play)] for name, play in plays.items()}


def write_tables(
  results: dict, root: pathlib.PurePath, console: terminal.Console
) -> None:
  """Writes result tables to `table.md` and `report.html`.

  Args:
    results: from `ablation_results.arm_results`.
    root: job folder.
    console: says where the report is.
  """
  output_files.write_atomically(
    root / 'table.md', comparison_tables.markdown(results)
  )
  output_files.write_atomically(
    root / 'report.html', comparison_page.render_page(results)
  )
  seeds = ', '.join(str(seed) for seed in results['seeds'])
  console.say(f'report of seeds {seeds}: {root / "report.html"}')


def show_tables(
  results: dict, root: pathlib.PurePath, console: terminal.Console
) -> dict:
  """Prints and writes result tables; returns the results."""
  console.say(comparison_tables.markdown(results))
  write_tables(results, root, console)
  return results


def search_rates(
  config: ablation_settings.Settings, setup: ablation_settings.SharedSetup
) -> dict[str, dict]:
  """Chooses a learning rate for each arm with rates to try.

  Each rate runs a round with the first seed, scored on scenes from the
  preference split.

  Args:
    config: job settings.
    setup: model and data.

  Returns:
    By arm name: `label`, `chosen` rate and, by rate, scores in `rates`.
  """
  searched = [arm for arm in config.arms if arm.rates]
  if not searched:
    return {}
  seed, root = config.seeds[0], setup.root / 'search'
  pool = setup.pool(config, seed)
  play = dataclasses.replace(config.self_play.play, seed=seed)
  base_folder = root / 'base'
  evaluation_phase.evaluate(
    dataclasses.replace(setup.base),
    setup.tested,
    play,
    base_folder,
    setup.console,
    learned=False,
  )
  search = {}
  for arm in searched:
    summaries = {}
    for rate in arm.rates:
      setup.console.say(f'search: {arm.label}, rate {rate:g}')
      arm_play = arm.play(config.self_play.play, seed, rate)
      summaries[rate] = arm_runs.run_arm(
        setup.base,
        setup.with_scorer(setup.tested, arm.name),
        pool,
        arm,
        dataclasses.replace(arm_play, rounds=1),
        root / arm.name / f'{rate:g}',
        base_folder,
        setup.console,
      )[1]
    names = [f'{k}{se}' for k in score_rows.SCORES for se in ('', '_se')]
    search[arm.name] = {
      'label': arm.label,
      'chosen': comparison_arms.best_rate(summaries),
      'rates': {
        f'{rate:g}': {name: summary[name] for name in names}
        for rate, summary in summaries.items()
      },
    }
  return search
