"""Arms of a comparison, each of several seeds, from the same candidates.

What HermesFlow (arXiv 2502.12148) compares in table 5 with one seed: DPO of
either task alone and rounds of Pair-DPO; here with seeds, a rate for each arm,
and tests scene by scene.
"""

import dataclasses
import pathlib
import time

from hermesflow_jax.experiments import ablation_results
from hermesflow_jax.experiments import ablation_settings
from hermesflow_jax.experiments import comparison_arms
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import job_start
from hermesflow_jax.reports import comparison_page
from hermesflow_jax.reports import comparison_tables
from hermesflow_jax.reports import score_sections
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.self_play import evaluation_phase

Settings = ablation_settings.Settings


def run(
  config: ablation_settings.Settings, workdir: str, console: terminal.Console
) -> dict:
  """Plays all arms; writes and returns `results.json`, tables and a page.

  Tables and page are there after each seed, of the seeds so far.
  """
  began = time.perf_counter()
  root = storage.path(workdir)
  path = job_model.locate(config.self_play, console)
  play = config.self_play.play
  mesh = job_model.make_mesh(
    config.self_play, path, console, play.batch, play.optim.accumulate
  )
  parts, weights = job_start.load_model(config.self_play, path, mesh)
  results = job_start.claim_workdir(
    workdir, config, console, 'results.json', base=weights
  )
  if results is not None:
    job_start.report_finished(console, workdir, root / 'report.html')
    return show_tables(results, root, console)
  base = job_model.place_on_mesh(
    config.self_play, parts, mesh, console, play.answering, play.caption_prompt
  )

  def world(settings_):
    return pair_dpo.play_data(settings_, base, str(root / 'data'), console)

  bench = ablation_settings.SharedSetup(
    base, world(config.self_play), world(config.tested), root, console
  )
  search = search_rates(config, bench)
  played = {}
  for number, seed in enumerate(config.seeds, 1):
    pool = bench.pool(config, seed)
    for arm in config.arms:
      console.say(f'seed {seed}: {arm.label}')
      chosen = search.get(arm.name, {}).get('chosen')
      folder = root / f'seed_{seed}' / arm.name
      if chosen and seed == config.seeds[0]:
        tried = root / 'search' / arm.name / f'{chosen:g}'
        comparison_arms.reuse_first_round(tried, folder, base)
      played[seed, arm.name] = comparison_arms.run_arm(
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
      write_tables(
        ablation_results.arm_results(first, bench, search, played),
        root,
        console,
      )
  results = ablation_results.arm_results(config, bench, search, played) | {
    'floors': ablation_results.measure_baselines(config, bench, played),
    'seconds_of_last_start': time.perf_counter() - began,
  }
  output_files.write_atomically(
    root / 'results.json', output_files.json_text(results)
  )
  return show_tables(results, root, console)


def write_tables(
  results: dict, root: pathlib.PurePath, console: terminal.Console
) -> None:
  """Writes the tables of results: `table.md` and `report.html`."""
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
  """Writes and prints the tables of results, and returns these."""
  console.say(comparison_tables.markdown(results))
  write_tables(results, root, console)
  return results


def search_rates(
  config: ablation_settings.Settings, bench: ablation_settings.SharedSetup
) -> dict[str, dict]:
  """Tries all rates with the first seed; returns what was found, by arm."""
  wanted = [arm for arm in config.arms if arm.rates]
  if not wanted:
    return {}
  seed, root = config.seeds[0], bench.root / 'search'
  pool = bench.pool(config, seed)
  play = dataclasses.replace(config.self_play.play, seed=seed)
  scored = root / 'base'
  evaluation_phase.evaluate(
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
      tried[rate] = comparison_arms.run_arm(
        bench.base,
        bench.tested,
        pool,
        arm,
        dataclasses.replace(one, rounds=1),
        root / arm.name / f'{rate:g}',
        scored,
        bench.console,
      )[1]
    kept = [f'{k}{se}' for k in score_sections.SCORES for se in ('', '_se')]
    out[arm.name] = {
      'label': arm.label,
      'chosen': comparison_arms.best_rate(tried),
      'rates': {
        f'{rate:g}': {k: one[k] for k in kept} for rate, one in tried.items()
      },
    }
  return out
