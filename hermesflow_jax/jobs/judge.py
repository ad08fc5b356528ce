"""Exports images with questions for other judges, and imports their answers."""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
import re
import typing

from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import user_text

with lazy_modules.on_first_use():
  from hermesflow_jax.jobs.setup import exported_rows
  from hermesflow_jax.jobs.setup import job_results
  from hermesflow_jax.jobs.setup import job_start
  from hermesflow_jax.jobs.setup import judge_tables
  from hermesflow_jax.jobs.setup import judged_images
  from hermesflow_jax.jobs.setup import workdir_claim
  from hermesflow_jax.judging import question_files
  from hermesflow_jax.reports import imported_judges
  from hermesflow_jax.sequences import text_similarity

# Values of a judge that its answers determine.
_COUNTS = ('questions', 'unmatched', 'images_left_out')


@dataclasses.dataclass(frozen=True)
class Settings:
  """Job settings.

  Attributes:
    action: 'export' writes images and questions, 'import' reads answers.
    source: folder of a finished run of `pair_dpo` or `curate`.
    pairs: with export: whether the winners and losers of `pair_dpo` are judged,
      too; those of `curate` always are.
    answers: with import: file of answers, or a folder with such files.
    name: with import: name of the judge, which stands in the results.
    prompt: with import: what the judge was asked to do, for the results.
    on_error: with import: 'raise' ends the job if an answer is missing,
      damaged or given twice, 'skip' leaves out these images.
  """

  action: typing.Annotated[str, settings.one_of('export', 'import')]
  source: str
  pairs: bool = False
  answers: str = ''
  name: str = ''
  prompt: str = ''
  on_error: typing.Annotated[str, settings.one_of('raise', 'skip')] = 'raise'

  def __post_init__(self):
    settings.check(self)
    if self.action == 'import':
      for field in ('answers', 'name'):
        if not getattr(self, field).strip():
          raise ValueError(f"{field} must be given with import, got ''")
        user_text.check_plain(field, getattr(self, field))


def run(config: Settings, workdir: str, console: terminal.Console) -> dict:
  """Runs an export or an import.

  An export writes `questions.jsonl` and `images/` into `workdir`. An import
  writes `results_<judge>.json` into the folder of the run, and its table into
  the report of the run.

  Returns:
    Counts of an export; results of an import.

  Raises:
    ValueError: the run or the answers cannot be used, or other results have
      the name of the judge.
  """
  root, run_config = judged_images.open_run(config.source, 'source')
  if config.action == 'export':
    return _export(config, root, run_config, workdir, console)
  return _import(config, root, console)


def _export(config, root, run_config, workdir, console) -> dict:
  workdir_claim.check_no_run(workdir)
  target = storage.path(workdir)
  rows = judged_images.rows(root, run_config, config.pairs, target, console)
  output_files.write_atomically(
    root / exported_rows.FILE, job_results.unicode_json_lines(rows)
  )
  public = [
    {k: q[k] for k in ('id', 'image', 'question', 'choices')}
    for row in rows
    for q in row['questions']
  ]
  file = question_files.write_questions(target, public)
  counts = {
    'images': len({question['image'] for question in public}),
    'questions': len({question['id'] for question in public}),
    'parts': dict(collections.Counter(row['part'] for row in rows)),
  }
  console.say(
    f'{counts["questions"]} questions about {counts["images"]} images in '
    f'{file}; answer them as JSON lines with id and answer, then run python '
    'main.py --config=configs/judge.py:import '
    f'--config.source={root} --config.answers=<file> --config.name=<judge>'
  )
  return counts


def _import(config, root, console) -> dict:
  rows = exported_rows.read(root)
  answers, faults = question_files.read_answers_and_faults(
    config.answers, 'answers'
  )
  known = {q['id']: q for row in rows for q in row['questions']}
  missing = sorted(known.keys() - answers.keys())
  if len(missing) == len(known) or (
    (missing or faults) and config.on_error == 'raise'
  ):
    raise ValueError(_all_faults(config, root, known, answers, faults))
  if faults:
    console.say(
      f'left out of {config.answers}: {question_files.first_faults(faults)}'
    )
  if strange := answers.keys() - known.keys():
    count = user_text.counted(len(strange), 'answer')
    console.say(f'{count} without a question of {root}')
  judged, unmatched = judge_tables.answer_rows(
    rows, answers, text_similarity.nearest_choices
  )
  results = {
    'judge': {
      'name': config.name,
      'prompt': config.prompt,
      'answers': config.answers,
      'questions': len(known) - len(missing),
      'unmatched': unmatched,
      'images_left_out': sum(row is None for row in judged),
    },
    'rounds': judge_tables.summaries(rows, judged, config.name),
    'pairs': judge_tables.pair_agreement(rows, judged),
  }
  target = _results_file(root, results)
  job_results.write_json(target, results)
  on_page = imported_judges.update_page(root)
  if table := judge_tables.text(results):
    console.say(table)
  console.say(
    f'judge {config.name}: '
    f'{user_text.counted(len(known) - len(missing), "answer")}, {unmatched} '
    f'that resemble no choice and count as wrong; see {target}'
    + (f' and {root / "report.html"}' if on_page else '')
  )
  return results


def _all_faults(config, root, known, answers, faults) -> str:
  """Returns an error with every fault of the answers.

  Args:
    config: job settings.
    root: run folder.
    known: questions by id.
    answers: answers by id.
    faults: texts, from `question_files.read_answers_and_faults`.
  """
  parts = []
  if missing := sorted(known.keys() - answers.keys()):
    parts.append(
      f'got none to {len(missing)} of {len(known)}, e.g. {missing[0]}'
    )
  if faults:
    parts.append(
      f'got {user_text.counted(len(faults), "fault")} in {config.answers}: '
      + question_files.first_faults(faults)
    )
  if strange := sorted(answers.keys() - known.keys()):
    parts.append(
      f'got {len(strange)} that belong to no question, e.g. {strange[0]}'
    )
  matched = [question for name, question in known.items() if name in answers]
  numbers = text_similarity.nearest_choices(
    [answers[q['id']] for q in matched], [q['choices'] for q in matched]
  )
  odd = [q['id'] for n, q in zip(numbers, matched, strict=True) if n is None]
  if odd:
    parts.append(
      f'got {len(odd)} that resemble no choice and count as wrong, e.g. '
      f'{user_text.quote(answers[odd[0]])} to {odd[0]}'
    )
  return (
    f'answers must have an answer to every question of {root}, '
    + '; '.join(parts)
    + '; correct these, or leave images without an answer out by '
    '--config.on_error=skip'
  )


def _results_file(root, results) -> pathlib.PurePath:
  """Returns the file of a judge's results.

  Raises:
    ValueError: the file holds results of another judge, or other answers.
  """
  name = results['judge']['name']
  slug = re.sub(r'[^A-Za-z0-9.-]+', '_', name)[:80]
  path = root / f'results_{slug}.json'
  try:
    saved = job_start.read_results(path)
  except ValueError:
    saved = None  # A damaged file is written again.
  if saved is None:
    return path
  owner = saved['judge'] if isinstance(saved.get('judge'), dict) else {}
  if owner.get('name') != name:
    raise ValueError(
      f'name must not lead to the file of another judge, got {name!r}: {path} '
      f'holds the results of {owner.get("name")!r}; give another --config.name'
    )
  if _scores(saved) != _scores(results):
    raise ValueError(
      f'name must be new for other answers, got {name!r}: {path} holds its '
      f'results from {owner.get("answers")}; remove this file to replace it, '
      'or give another --config.name'
    )
  return path


def _scores(results) -> str:
  """Returns what the answers determine: no path, no name, no prompt."""
  counts = {name: results['judge'].get(name) for name in _COUNTS}
  # As a text, in which NaN equals itself.
  return json.dumps({**results, 'judge': counts}, sort_keys=True)
