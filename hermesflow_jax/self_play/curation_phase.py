"""Curation phase: candidates, scores, homologous pairs."""

import time

import numpy as np

from hermesflow_jax.curation import candidate_files
from hermesflow_jax.curation import candidate_generation
from hermesflow_jax.curation import gathering
from hermesflow_jax.curation import pair_files
from hermesflow_jax.curation import pair_records
from hermesflow_jax.curation import pair_selection
from hermesflow_jax.curation import shards
from hermesflow_jax.evaluation import judge_agreement
from hermesflow_jax.runtime import disk_names
from hermesflow_jax.runtime import number_bounds
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.self_play import round_state

_SAME_MODEL_NOTE = (
  'The judge is the model that drew and scored these images, so how far the '
  'two agree is not measured.'
)


def curate(this_round: round_state.Round) -> tuple[dict, dict]:
  """Makes pairs, or reads them if the round has them already.

  Args:
    this_round: round state before training.

  Returns:
    Pairs by input id, and content written to `curation.json`.
  """
  folder = this_round.folder
  record = folder / 'curation.json'
  pairs_file = folder / 'pairs.jsonl'
  files = [record, pairs_file]
  if this_round.config.objective.uses_groups:
    files.append(folder / candidate_files.NAME)
  if processes.broadcast_from_first(
    lambda: all(file.exists() for file in files)
  ):
    this_round.console.say(f'{folder.name}: pairs found, skipping curation')
    pairs = pair_files.read_pairs(folder)
    if pairs.keys() != disk_names.places(this_round.inputs.ids).keys():
      raise output_files.damaged(
        pairs_file, 'its inputs are not those of the round'
      )
    curation = output_files.read_json(record, _is_curation)
  else:
    began = time.perf_counter()
    candidates = gather_candidates(
      this_round, this_round.sampler(this_round.model)
    )
    previous = {}
    if this_round.number > 1:
      previous = pair_files.read_pairs(this_round.previous_folder)
    pairs, curation = make_pairs(this_round, candidates, previous, began)
  if this_round.data.publish:
    decode = this_round.sampler(this_round.model).decode
    this_round.data.publish(folder, this_round.inputs, pairs, decode)
  return pairs, curation


def _is_curation(record: dict) -> bool:
  """Returns whether a JSON object has the values that later phases read."""
  return isinstance(record.get('drops'), dict) and output_files.is_number(
    record.get('seconds')
  )


def gather_candidates(
  this_round: round_state.Round, unified: unified_model.UnifiedModel
) -> candidate_generation.Candidates:
  """Generates and scores the missing candidates; returns all candidates.

  Writes shards with `config.shard` inputs into the round's `candidates/`.

  Args:
    this_round: round state before training.
    unified: model that writes captions, generates images and answers.
  """
  config, inputs = this_round.config, this_round.inputs
  candidate_config = candidate_generation.CandidateConfig(
    config.curation_sampler,
    config.images,
    config.captions,
    this_round.data.similarity,
    number_bounds.seed_of_round(config.seed, this_round.number),
    this_round.data.image_scorer,
    config.most_images,
    config.pair_rules.make_image_pairs,
    config.easy_score,
    config.first_images,
  )
  store = _shards(this_round, 'candidates')
  gathering.gather(
    unified,
    inputs,
    candidate_config,
    store,
    config.shard,
    progress=unified.progress('curating'),
  )
  return gathering.collect(store, inputs, config.shard)


def make_pairs(
  this_round: round_state.Round,
  candidates: candidate_generation.Candidates,
  previous: dict,
  began: float,
  self_scores: np.ndarray | None = None,
) -> tuple[dict, dict]:
  """Selects winners and losers, and writes the pairs.

  Writes `codes.npz` and `pairs.jsonl`, then asks the judge about the images
  (a stop costs at most a shard), then writes `curation.json`. The
  judge's answers are diagnostics: they do not change the pairs.

  Args:
    this_round: round state before training.
    candidates: candidates for N inputs, K images each.
    previous: previous pairs by input id; {} in round 1.
    began: `time.perf_counter()` when curation started.
    self_scores: float[N, K], the model's own image scores, if another judge
      scored `candidates`.

  Returns:
    Pairs by input id, and content written to `curation.json`.
  """
  config, inputs = this_round.config, this_round.inputs
  pairs = pair_selection.select_pairs(
    candidates, inputs.ids, config.pair_rules, previous
  )
  _write_pairs(this_round, candidates, pairs)
  curation = {'drops': pair_files.drop_counts(pairs)}
  if candidates.drawn is not None:
    curation['drawn'] = int(candidates.drawn.sum())
  if this_round.data.judges_itself(this_round.learned):
    curation['note'] = _SAME_MODEL_NOTE
  else:
    if self_scores is None:
      self_scores = candidates.image_scores
    store = _shards(this_round, 'judged')
    judged = judge_agreement.judge_candidates(
      this_round.data.judge,
      inputs,
      candidates.codes,
      pairs,
      store,
      config.shard,
    )
    curation |= judge_agreement.measure_agreement(self_scores, *judged)
    if used := judge_agreement.total_usage(store):
      curation['judge_usage'] = used
  curation['seconds'] = time.perf_counter() - began
  output_files.write_atomically(
    this_round.folder / 'curation.json', output_files.json_text(curation)
  )
  return pairs, curation


def _write_pairs(this_round, candidates, pairs):
  """Writes candidates as arrays, and pairs as JSON lines."""
  inputs, folder = this_round.inputs, this_round.folder
  candidate_files.write_candidates(folder, inputs.codes, candidates)
  output_files.write_json_lines(
    folder / 'pairs.jsonl', pair_records.PairRecords(inputs, pairs)
  )


def _shards(this_round, name) -> shards.Shards:
  """Returns shards below the round folder."""
  slices = shards.shard_slices(len(this_round.inputs), this_round.config.shard)
  return shards.Shards(this_round.folder / name, len(list(slices)))
