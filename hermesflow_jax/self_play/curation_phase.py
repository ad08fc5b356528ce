"""The curation phase of a round."""

import json
import pathlib
import time

import numpy as np

from hermesflow_jax.curation import candidate_generation
from hermesflow_jax.curation import gathering
from hermesflow_jax.curation import pair_files
from hermesflow_jax.curation import pair_selection
from hermesflow_jax.curation import shards
from hermesflow_jax.data import input_set
from hermesflow_jax.evaluation import judge_agreement
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.self_play import play_settings

_SAME_CANDIDATES = (
  'The judge is the model that drew and scored these images, so how far the '
  'two agree is not measured.'
)


def curate(player, world, inputs, config, root, number, console, learned):
  """Curates a round once; later calls read the files."""
  folder = root / f'round_{number}'
  done = folder / 'curation.json'
  if processes.broadcast_from_first(done.exists):
    console.say(f'{folder.name}: pairs are there')
    return pair_files.read_pairs(folder), json.loads(done.read_text())
  began = time.perf_counter()
  found = gather_candidates(player, world, inputs, config, folder, number)
  before = (
    pair_files.read_pairs(root / f'round_{number - 1}') if number > 1 else {}
  )
  return make_pairs(
    found, world, inputs, config, before, folder, began, learned=learned
  )


def gather_candidates(
  player: unified_model.UnifiedModel,
  world: play_settings.PlayData,
  inputs: input_set.Inputs,
  config: play_settings.PlayConfig,
  folder: pathlib.PurePath,
  number: int,
) -> candidate_generation.Candidates:
  """Returns the candidates of a round; makes those that are not there.

  Args:
    player: the model that makes them.
    world: scores captions.
    inputs: of the round.
    config: how many, and how.
    folder: of the round.
    number: of the round.
  """
  recipe = candidate_generation.CandidateConfig(
    config.curation_sampler,
    config.images,
    config.captions,
    world.similarity,
    config.seed + number,
  )
  store = _store(folder / 'candidates', inputs, config)
  gathering.gather(
    player,
    inputs,
    recipe,
    store,
    config.shard,
    progress=player.progress('curating'),
  )
  return gathering.collect(store, inputs, config.shard)


def _store(folder, inputs, config) -> shards.Shards:
  """The shards of a round's inputs."""
  return shards.Shards(
    folder, len(list(shards.shard_slices(len(inputs), config.shard)))
  )


def make_pairs(
  found: candidate_generation.Candidates,
  world: play_settings.PlayData,
  inputs: input_set.Inputs,
  config: play_settings.PlayConfig,
  before: dict,
  folder: pathlib.PurePath,
  began: float,
  own: np.ndarray | None = None,
  learned: bool = True,
) -> tuple[dict, dict]:
  """Makes the pairs of a round and writes them; `pair_selection.json` comes last.

  The judge is asked after the pairs are written, shard by shard: a stop there
  loses one shard of his answers.

  Args:
    found: candidates.
    world: has the judge, who is asked for what `pair_selection.json` tells people.
    inputs: of the round.
    config: says what makes a pair, and how many inputs a shard has.
    before: the pairs of the round before, {} in the first.
    folder: of the round.
    began: when the curation did, by `time.perf_counter`.
    own: the model's own scores of images, where `found` has another's.
    learned: whether another model than the base made the candidates.

  Returns:
    (pairs by id, what `pair_selection.json` says).
  """
  pairs = pair_selection.select_pairs(found, inputs.ids, config.rules, before)
  rows = [
    pair_files.pair_to_record(name, caption, pairs[name])
    for name, caption in zip(inputs.ids, inputs.captions)
  ]
  output_files.write_atomically(
    folder / 'codes.npz',
    output_files.npz_bytes(
      real=inputs.codes,
      candidates=found.codes,
      image_scores=found.image_scores,
      caption_scores=found.caption_scores,
    ),
  )
  output_files.write_atomically(
    folder / 'pairs.jsonl', output_files.json_lines(rows)
  )
  made = {'drops': pair_files.drop_counts(pairs)}
  if world.judges_itself(learned):
    made['note'] = _SAME_CANDIDATES
  else:
    judged = judge_agreement.judge_candidates(
      world.judge,
      inputs,
      found.codes,
      pairs,
      _store(folder / 'judged', inputs, config),
      config.shard,
    )
    made |= judge_agreement.measure_agreement(
      found.image_scores if own is None else own, *judged
    )
  made['seconds'] = time.perf_counter() - began
  output_files.write_atomically(
    folder / 'curation.json', output_files.json_text(made)
  )
  return pairs, made
