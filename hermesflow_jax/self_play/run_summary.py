"""Run summary: finished rounds, changes since the base model, seconds."""

import pathlib

from hermesflow_jax.evaluation import paired_changes
from hermesflow_jax.judging import usage
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.self_play import score_table


def finished_rounds(root: pathlib.PurePath) -> int:
  """Returns the newest round with a checkpoint; 0 for none."""
  names = storage.list_names(root / 'checkpoints')
  return max((int(name) for name in names if name.isdecimal()), default=0)


def check_rounds(root: pathlib.PurePath, rounds: int) -> None:
  """Checks that a run has no more finished rounds than its settings say.

  All processes call it.

  Args:
    root: run folder.
    rounds: rounds of the settings.

  Raises:
    ValueError: more rounds were played.
  """
  finished = processes.broadcast_from_first(lambda: finished_rounds(root))
  if rounds < finished:
    raise ValueError(
      f'play.rounds must be at least {finished}, the rounds played in {root}, '
      f'got {rounds}; give another --workdir for fewer'
    )


def is_complete(results: dict) -> bool:
  """Returns whether `results.json` has the scores of each round.

  Args:
    results: its content.
  """
  rows = results.get('rounds')
  return (
    isinstance(rows, list)
    and bool(rows)
    and all(
      score_table.has_scores(row)
      and row.get('round') == number
      and _has_unseen(row.get('unseen'))
      for number, row in enumerate(rows)
    )
  )


def _has_unseen(scores) -> bool:
  return scores is None or (
    score_table.has_scores(scores)
    and output_files.is_number(scores.get('scenes'))
  )


def missing_files(root: pathlib.PurePath, rounds: int) -> list:
  """Returns the files of a finished run that do not exist, beside its models.

  Args:
    root: run folder.
    rounds: finished rounds.

  Returns:
    Paths; also that of a report without its end.
  """
  files = []
  for number in range(rounds + 1):
    folder = root / f'round_{number}'
    files += [folder / 'evaluation.json']
    files += [folder / 'pairs.jsonl'] if number else []
  report = root / 'report.html'
  is_complete = report.exists() and b'</html>' in report.read_bytes()[-100:]
  missing = [] if is_complete else [report]
  return missing + [file for file in files if not file.exists()]


def add_changes(summaries: list[dict], root: pathlib.PurePath) -> None:
  """Adds paired changes since the base model to each round summary.

  Args:
    summaries: R + 1 evaluations, the base model's first; changed in place.
    root: run folder.
  """

  def change(row, name):
    base, trained = (
      paired_changes.read_scores(root / f'round_{number}', name)
      for number in (0, row['round'])
    )
    return paired_changes.paired_change([base], [trained])

  for row in summaries[1:]:
    row['change'] = change(row, 'scenes')
    if row.get('unseen'):
      row['unseen']['change'] = change(row, 'scenes_unseen')


def judge_record(record: dict[str, str], summaries: list[dict]) -> dict:
  """Returns the record of a run's judge, with its cost if it has costs.

  Args:
    record: see `play_settings.PlayData`.
    summaries: R + 1 evaluations, the base model's first.
  """
  costs = [row.get('judge_usage') for row in summaries]
  costs += [row.get('curation', {}).get('judge_usage') for row in summaries]
  cost = usage.total(costs)
  return dict(record) | ({'usage': cost} if cost else {})


def total_seconds(summaries: list[dict], seconds: float) -> float:
  """Returns run seconds: since this start, or over all phases if longer.

  A resumed run skips finished phases, whose summaries keep their seconds.

  Args:
    summaries: R + 1 evaluations, the base model's first.
    seconds: seconds since this start.
  """
  phases = sum(sum(row['seconds'].values()) for row in summaries)
  return max(seconds, phases)
