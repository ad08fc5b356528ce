"""The host's part in a round, phase by phase, without a model."""

import json
import pathlib

import jax
import numpy as np

from hermesflow_jax.curation import candidate_files
from hermesflow_jax.curation import candidate_generation
from hermesflow_jax.curation import gathering
from hermesflow_jax.curation import pair_files
from hermesflow_jax.curation import pair_records
from hermesflow_jax.curation import pair_selection
from hermesflow_jax.curation import shards
from hermesflow_jax.data import input_set
from hermesflow_jax.evaluation import gap
from hermesflow_jax.evaluation import judge_agreement
from hermesflow_jax.pair_dpo import answer_rows
from hermesflow_jax.pair_dpo import candidate_groups
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import record_rows
from hermesflow_jax.pair_dpo import reference_scores
from hermesflow_jax.performance.benchmark import idle_model
from hermesflow_jax.performance.benchmark import phase_meter
from hermesflow_jax.performance.benchmark import round_size
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sequences import mask_schedules

# Inputs in a shard, and rows in a batch.
_SHARD, _BATCH = 32, 32
_INPUTS, _PAIRS = 'inputs.jsonl', 'pairs.jsonl'
_RULES = pair_selection.PairRules(least_win=0.3)
_DECODING = batched.Decoding(1.0, 4)


def play(
  meter: phase_meter.PhaseMeter,
  size: round_size.RoundSize,
  mesh: jax.sharding.Mesh,
  folder: pathlib.Path,
) -> None:
  """Goes through a round's phases; all processes call it.

  Args:
    meter: measures the phases.
    size: what the round has.
    mesh: device mesh.
    folder: empty folder for the round's files.
  """
  unified = idle_model.make(size.grid, mesh, _BATCH)
  processes.on_first_process(lambda: _write_inputs(folder, size))
  inputs = meter.measure('read inputs', _read_inputs, folder, size)
  candidates = _make_candidates(meter, unified, inputs, size, folder)
  pairs = meter.measure(
    'choose pairs',
    pair_selection.select_pairs,
    candidates,
    inputs.ids,
    _RULES,
    {},
  )
  meter.measure('write pairs', _write_pairs, folder, inputs, candidates, pairs)
  meter.measure(
    'ask the judge',
    judge_agreement.judge_candidates,
    idle_model.judge,
    inputs,
    candidates.codes,
    pairs,
    _store(folder / 'judged', size),
    _SHARD,
  )
  del candidates, pairs
  _learn_from_pairs(meter, unified, inputs, folder)
  groups = meter.measure('join groups (grpo)', _join_groups, folder, inputs)
  del groups
  questions = meter.measure(
    'read questions (answers)', answer_rows.read_questions, unified, inputs
  )
  del questions
  meter.measure(
    'evaluate',
    gap.evaluate,
    unified,
    inputs,
    maskgit.MaskGITSampler(2, 0.0),
    idle_model.judge,
    idle_model.likeness,
    0,
  )


def _write_inputs(folder, size):
  """Writes captions and questions."""
  rng = np.random.default_rng(0)

  def records():
    for number in range(size.inputs):
      words = rng.integers(0, len(idle_model.WORDS), 30)
      yield {
        'id': f'{number:06d}',
        'caption': ' '.join(idle_model.WORDS[word] for word in words),
        'tag': '',
        'questions': [
          {
            'id': str(number),
            'question': 'what color has the ring behind the blue star ?',
            'choices': idle_model.CHOICES,
            'answer': idle_model.CHOICES[q % len(idle_model.CHOICES)],
            'element_type': 'color',
          }
          for q in range(size.questions)
        ],
      }

  output_files.write_json_lines(folder / _INPUTS, records())


def _read_inputs(folder, size) -> input_set.Inputs:
  """Reads captions and questions, with random codes."""
  rng = np.random.default_rng(1)
  with storage.open_text(folder / _INPUTS) as file:
    records = (
      json.loads(line)
      | {'codes': rng.integers(0, idle_model.CODEBOOK, size.grid**2, np.int32)}
      for line in file
    )
    return input_set.from_records(disk_objects.keep(records))


def _store(folder, size) -> shards.Shards:
  return shards.Shards(folder, -(-size.inputs // _SHARD))


def _make_candidates(meter, unified, inputs, size, folder):
  """Makes, scores and reads candidates."""
  config = candidate_generation.CandidateConfig(
    maskgit.MaskGITSampler(2, 0.0),
    size.images,
    (_DECODING,) * size.captions,
    idle_model.likeness,
    0,
  )
  store = _store(folder / 'candidates', size)
  meter.measure(
    'make candidates', gathering.gather, unified, inputs, config, store, _SHARD
  )
  return meter.measure(
    'open candidates', gathering.collect, store, inputs, _SHARD
  )


def _write_pairs(folder, inputs, candidates, pairs):
  candidate_files.write_candidates(folder, inputs.codes, candidates)
  output_files.write_json_lines(
    folder / _PAIRS, pair_records.PairRecords(inputs, pairs)
  )
  processes.barrier()


def _learn_from_pairs(meter, unified, inputs, folder):
  """Reads pairs, and scores them by the reference."""
  pairs = meter.measure('read pairs', pair_files.read_pairs, folder)
  records = meter.measure(
    'join pairs and inputs', record_rows.join_pairs, inputs, pairs, False
  )
  lengths = meter.measure(
    'measure texts',
    record_rows.packed_lengths_of,
    unified.vocab,
    unified.text,
    unified.lengths,
    records,
  )
  meter.measure(
    'score by the reference', _score_pairs, unified, records, lengths
  )


def _score_pairs(unified, records, lengths):
  make_row = record_rows.make_transform(
    unified.vocab, unified.text, unified.lengths, 0.0, fit=lengths
  )
  rng = np.random.default_rng(0)
  return reference_scores.score_reference(
    None,
    records,
    lambda record, dropped: make_row(record, rng),
    objective=objective_config.ObjectiveConfig(masks=1),
    schedule=mask_schedules.cosine,
    image_tokens=unified.model.config.image_tokens,
    seed=0,
    batch_size=_BATCH,
    chunk_size=64,
    mesh=unified.mesh,
    score_batch=idle_model.score_pairs,
  )


def _join_groups(folder, inputs):
  return candidate_groups.join_groups(
    inputs.ids,
    inputs.captions,
    inputs.codes,
    candidate_files.read_candidates(folder),
    objective_config.ObjectiveConfig(method='grpo'),
  )
