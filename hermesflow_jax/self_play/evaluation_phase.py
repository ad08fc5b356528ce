"""Evaluation phase: understanding, generation and their gap."""

import hashlib
import io
import json
import pathlib
import time

import numpy as np

from hermesflow_jax.data import input_set
from hermesflow_jax.evaluation import gap
from hermesflow_jax.evaluation import paired_changes
from hermesflow_jax.judging import usage
from hermesflow_jax.models import showo
from hermesflow_jax.runtime import disk_names
from hermesflow_jax.runtime import npz_files
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.self_play import play_settings
from hermesflow_jax.self_play import round_state
from hermesflow_jax.self_play import score_table

_SAME_MODEL_NOTE = (
  'The base model judges its own images: generation is its own score of '
  'them, so own_score is left out.'
)


def evaluate_round(
  this_round: round_state.Round, model: showo.ShowO, learned: bool
) -> dict:
  """Evaluates the model of a round and prints its scores.

  Args:
    this_round: round number, data and settings.
    model: parameters to evaluate: the base model in round 0, later the model
      that the round trained.
    learned: whether `model` has been trained since the base model.
  """
  summary = evaluate(
    this_round.sampler(model),
    this_round.data,
    this_round.config,
    this_round.folder,
    this_round.console,
    learned,
  )
  this_round.console.say(score_table.score_line(this_round.number, summary))
  return summary


def evaluate(
  unified: unified_model.UnifiedModel,
  data: play_settings.PlayData,
  config: play_settings.PlayConfig,
  folder: pathlib.PurePath,
  console: terminal.Console,
  learned: bool,
) -> dict:
  """Evaluates a model, or reads its evaluation if it was made before.

  Writes answers and images for held-out inputs (`scenes.jsonl` and
  `scenes.npz`), the same for unseen captions (`scenes_unseen`), then the
  summary `evaluation.json`. If a run adds rounds, new inputs may have captions
  that were unseen before. Then only the unseen captions are evaluated again.

  Args:
    unified: model to evaluate.
    data: held-out inputs and judge.
    config: image sampler and seed.
    folder: output folder.
    console: prints progress.
    learned: whether the model has been trained since the base model.

  Returns:
    Content written to `evaluation.json`; scores are means in [0, 1].
  """
  record = folder / 'evaluation.json'
  summary = processes.broadcast_from_first(
    lambda: (
      output_files.read_json(record, _is_evaluation)
      if record.exists()
      else None
    )
  )
  unseen_hash = _ids_hash(data.unseen)
  previous_hash = summary and (summary.get('unseen') or {}).get('content')
  if summary and previous_hash == unseen_hash:
    console.say(f'{folder.name}: evaluation found, skipping')
    return summary | _count_input_captions(data)
  began = time.perf_counter()
  judge = None if data.judges_itself(learned) else data.judge
  used = usage.of_judge(judge)

  def measure(inputs):
    return gap.evaluate(
      unified,
      inputs,
      config.evaluation_sampler,
      judge,
      data.similarity,
      config.seed,
      config.search,
    )

  if summary:
    console.say(
      f'{folder.name}: the inputs have other captions than before, evaluating '
      'unseen captions again'
    )
    seconds = summary['seconds']['evaluation']
  else:
    result, seconds = measure(data.held_out), 0.0
    _write_scenes(folder, 'scenes', result, data.held_out)
    summary = gap.summarize(result, data.held_out)
    summary['judge'] = data.judged_by
    if judge is None:
      summary['note'] = _SAME_MODEL_NOTE
  summary |= _count_input_captions(data) | {'unseen': None}
  if data.unseen:
    result = _select_unseen(folder, data) or measure(data.unseen)
    _write_scenes(folder, 'scenes_unseen', result, data.unseen)
    summary['unseen'] = gap.summarize(result, data.unseen)
    summary['unseen']['content'] = unseen_hash
  if used:
    costs = [summary.get('judge_usage'), usage.since(judge, used)]
    summary['judge_usage'] = usage.total(costs)
  seconds += time.perf_counter() - began
  summary['seconds'] = {'evaluation': seconds}
  output_files.write_atomically(record, output_files.json_text(summary))
  return summary


def _is_evaluation(summary: dict) -> bool:
  """Returns whether a JSON object has the values that later phases read."""
  parts = [summary]
  if summary.get('unseen') is not None:
    parts.append(summary['unseen'])
  seconds = summary.get('seconds')
  return (
    all(score_table.has_scores(part) for part in parts)
    and isinstance(seconds, dict)
    and output_files.is_number(seconds.get('evaluation'))
  )


def _count_input_captions(data) -> dict[str, int]:
  """Counts the held-out captions that inputs also have."""
  input_captions = data.input_captions
  return {
    'captions_also_of_inputs': sum(
      caption in input_captions for caption in data.held_out.captions
    )
  }


def _ids_hash(inputs: input_set.Inputs | None) -> str | None:
  """Returns the input ids as SHA-256; None without inputs."""
  if inputs is None:
    return None
  return hashlib.sha256(json.dumps(list(inputs.ids)).encode()).hexdigest()


def _select_unseen(folder, data) -> gap.Result | None:
  """Returns the held-out result on unseen captions.

  Returns None if some unseen inputs are not held-out inputs.
  """
  index = disk_names.places(data.held_out.ids)
  if not all(name in index for name in data.unseen.ids):
    return None
  processes.barrier()
  try:
    result = _read_scenes(folder, 'scenes', data.held_out)
  except paired_changes.DAMAGE as error:
    raise paired_changes.damaged(folder / 'scenes.jsonl', error) from error
  return result.select([index[name] for name in data.unseen.ids])


def _write_scenes(folder, name, result, inputs):
  """Writes answers and scores as JSON lines, and images as codes."""
  columns = {
    'id': inputs.ids,
    'understanding': result.understanding,
    'generation': result.generation,
    'own_score': result.own_score,
    'similarity': result.similarity,
    'caption': result.captions,
    'answers': result.answers,
    'judged': result.judged,
    'own': result.own,
    'passes': result.passes,
  }
  columns = {
    key: values.tolist() if isinstance(values, np.ndarray) else values
    for key, values in columns.items()
    if values is not None
  }
  rows = zip(*columns.values(), strict=True)
  output_files.write_json_lines(
    folder / f'{name}.jsonl', (dict(zip(columns, row)) for row in rows)
  )
  npz_files.write(folder / f'{name}.npz', codes=result.codes)


def _read_scenes(folder, name, inputs) -> gap.Result:
  """Reads files that `_write_scenes` wrote."""
  with storage.open_text(folder / f'{name}.jsonl') as file:
    rows = [json.loads(line) for line in file]
  with np.load(io.BytesIO((folder / f'{name}.npz').read_bytes())) as arrays:
    codes = arrays['codes']

  def column(key):
    return [row[key] for row in rows] if key in rows[0] else None

  return gap.score_answers(
    inputs,
    np.array(column('similarity')),
    codes,
    column('caption'),
    column('answers'),
    column('judged'),
    column('own'),
    column('passes') and np.array(column('passes')),
  )
