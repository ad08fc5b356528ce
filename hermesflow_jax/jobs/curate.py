"""Curates homologous preference pairs; several processes may share the work."""

from __future__ import annotations

import dataclasses
import pathlib

from hermesflow_jax.jobs.setup import curation_settings
from hermesflow_jax.jobs.setup import job_start
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import number_bounds
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import user_text

with lazy_modules.on_first_use():
  from hermesflow_jax.curation import candidate_generation
  from hermesflow_jax.curation import gathering
  from hermesflow_jax.curation import pair_selection
  from hermesflow_jax.curation import shards
  from hermesflow_jax.data import input_set
  from hermesflow_jax.data import record_files
  from hermesflow_jax.jobs.setup import curation_folder
  from hermesflow_jax.jobs.setup import job_inputs
  from hermesflow_jax.jobs.setup import job_model
  from hermesflow_jax.jobs.setup import job_scoring
  from hermesflow_jax.jobs.setup import model_hashes
  from hermesflow_jax.jobs.setup import official_files
  from hermesflow_jax.jobs.setup import record_checks
  from hermesflow_jax.jobs.setup import tokenizer_hashes
  from hermesflow_jax.sampling import unified_model

Settings = curation_settings.Settings


@job_start.releases_workdir
def run(
  config: Settings, workdir: str, console: terminal.Console
) -> dict | None:
  """Generates candidates and selects pairs.

  Returns:
    The manifest; None if other shares are not finished.
  """
  path = job_start.locate_model(config, console, {'files': config.files})
  hashes, images = _check_files(config, path, console)
  job_scoring.check(config, '--config')
  previous, identity = {}, {}
  if config.before:
    previous, identity['pairs_before'] = curation_folder.read_previous_round(
      config.before, config.round - 1
    )
  mesh = config.mesh.make()
  text = model_hashes.text_identity(config, path)
  manifest = job_start.claim_and_read_results(
    workdir,
    dataclasses.replace(config, share=0, shares=1),
    console,
    'manifest.json',
    curation_folder.is_manifest,
    contents=job_start.input_hashes(text.sha256, images)
    | job_scoring.encoder_hashes(config)
    | {'fresh_inputs_of_round': lambda: config.fresh_inputs_of_round},
    share=(config.share, config.shares),
    base=model_hashes.weight_hashes(config, path),
    data=hashes,
    **identity,
    **text.choices,
  )
  root = storage.path(workdir)
  is_finished = manifest is not None and job_start.all_exist(
    console, lambda: curation_folder.missing_files(root, manifest)
  )
  if is_finished and not (config.official and official_files.is_missing(root)):
    job_start.report_finished(console, workdir, root)
    return manifest
  parts = job_model.load_parts(config, path, mesh)
  unified = job_scoring.place_on_mesh(config, parts, mesh, console, config)
  if is_finished:
    official_files.write_of_curation(
      root, config.files, unified.decode, console
    )
    return manifest
  inputs = read_inputs(config, unified, root, console)
  same_inputs = config.before and not config.fresh_inputs
  if same_inputs and previous.keys().isdisjoint(inputs.ids):
    raise ValueError(
      f'before must hold pairs of the same inputs, got {config.before}, '
      'which has none of their ids; give the curation of the previous round'
    )
  _check_lengths(config, previous, inputs)
  store = _gather(config, unified, inputs, root, console)
  missing = store.missing()
  if missing:
    console.say(
      f'this share is finished; {len(missing)} of {store.count} shards belong '
      'to other shares'
    )
    return None
  candidates = gathering.collect(store, inputs, config.shard)
  if candidates.drawn is not None:
    console.say(
      f'{candidates.drawn.sum()} images drawn, {candidates.drawn.min()} to '
      f'{candidates.drawn.max()} for an input'
    )
  pairs = pair_selection.select_pairs(
    candidates, inputs.ids, config.pair_rules, previous
  )
  if config.official:
    # Not under the lock: all processes meet here, and one would wait for it.
    write_official = official_files.make_writer(config.files, console)
    write_official(root, inputs, pairs, unified.decode)
  with curation_folder.finish_lock(root, console.say):
    manifest = curation_folder.read_finished(root)
    if manifest is None:
      manifest = write_pairs(
        config, inputs, pairs, store.count, root, console, unified
      )
  return manifest


def _check_lengths(config, previous, inputs):
  lengths = set()
  for name in inputs.ids:
    if name in previous:
      _, gen = previous[name]
      lengths |= {len(gen.win.value), len(gen.lose.value)}
  if lengths - {inputs.codes.shape[1]}:
    raise ValueError(
      f'before must hold images of {inputs.codes.shape[1]} codes, as the model '
      f'draws them, got {config.before} with {min(lengths)} codes; give the '
      'curation of the previous round'
    )


def _check_files(config, path, console) -> tuple[dict | None, list]:
  """Returns SHA-256 and images of the user's files; None and [] without."""
  if not config.files:
    return None, []
  unified = record_checks.load_text_checks(config, path, config.answering)
  records = record_checks.read_records(
    config.files, config.inputs_so_far, unified, console
  )
  count = min(config.inputs_so_far, len(records))
  images = [records[n]['path'] for n in range(count)]
  return record_files.file_hashes(config.files), images


def read_inputs(config, unified, root, console) -> input_set.Inputs:
  """Returns the inputs of the round, with image codes; see `run`."""
  rows = job_inputs.read_inputs(
    unified,
    config.files,
    config.world,
    'preference',
    config.world.seed,
    config.inputs_so_far,
    str(root / 'data' / str(config.share)),
    console,
  )
  # The inputs of earlier rounds come first.
  first = config.inputs_so_far - config.inputs
  return input_set.from_span(rows, range(first, config.inputs_so_far))


def _gather(config, unified, inputs, root, console) -> shards.Shards:
  """Generates and scores missing candidates in this share."""
  mesh, share = unified.mesh, config.share
  scorers = job_scoring.make_scorers(config, mesh, root, console, share)
  recipe = candidate_generation.CandidateConfig(
    config.sampler,
    config.images,
    config.captions,
    scorers[0],
    number_bounds.seed_of_round(config.seed, config.round),
    scorers[1],
    config.most_images,
    config.pair_rules.make_image_pairs,
    config.easy_score,
    config.first_images,
  )
  store = shards.Shards(root / 'shards', -(-len(inputs) // config.shard))
  if finished := store.count - len(store.missing()):
    console.say(f'{finished} of {store.count} shards found, skipping these')
  clock = gathering.gather(
    unified,
    inputs,
    recipe,
    store,
    config.shard,
    share=config.share,
    shares=config.shares,
    progress=console.progress('curating'),
  )
  if clock.seconds:
    console.say(str(clock))
  return store


def write_pairs(
  config: Settings,
  inputs: input_set.Inputs,
  pairs: dict[str, tuple[pair_selection.Pair, pair_selection.Pair]],
  shard_count: int,
  root: pathlib.PurePath,
  console: terminal.Console,
  unified: unified_model.UnifiedModel,
) -> dict:
  """Writes the pairs, prints their counts, and returns the manifest.

  Args:
    config: job settings.
    inputs: round inputs.
    pairs: (caption pair, image pair) by input id.
    shard_count: candidate shards.
    root: run folder.
    console: prints the counts.
    unified: model whose tokenizers the pairs were made with.
  """
  hashes = tokenizer_hashes.hashes_of(unified)
  manifest = curation_folder.write_curation(
    root, inputs, pairs, config.round, shard_count, hashes
  )
  for kind, counts in manifest['drops'].items():
    reasons = ', '.join(f'{n} {reason}' for reason, n in sorted(counts.items()))
    console.say(f'{kind} pairs: {reasons}')
  console.say(f'{user_text.counted(len(inputs), "input")} in {root}')
  return manifest
