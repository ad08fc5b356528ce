"""MMMU: college questions with figures in 30 subjects (arXiv 2311.16502).

900 validation questions. A model that reads one image gets the first; the rest
is counted in the notes.
"""

import json
import random

from hermesflow_jax.benchmarks import benchmark_files
from hermesflow_jax.benchmarks import mmmu_files
from hermesflow_jax.benchmarks import mmmu_replies
from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.benchmarks import vlmevalkit
from hermesflow_jax.runtime import storage

# Subjects in the order in which the official script draws random answers.
SUBJECTS = (
  'Accounting',
  'Agriculture',
  'Architecture_and_Engineering',
  'Art',
  'Art_Theory',
  'Basic_Medical_Science',
  'Biology',
  'Chemistry',
  'Clinical_Medicine',
  'Computer_Science',
  'Design',
  'Diagnostics_and_Laboratory_Medicine',
  'Economics',
  'Electronics',
  'Energy_and_Power',
  'Finance',
  'Geography',
  'History',
  'Literature',
  'Manage',
  'Marketing',
  'Materials',
  'Math',
  'Mechanical_Engineering',
  'Music',
  'Pharmacy',
  'Physics',
  'Psychology',
  'Public_Health',
  'Sociology',
)
CHOICE_SUFFIX = (
  "\nAnswer with the option's letter from the given choices directly."
)


class Mmmu(protocol.UnderstandingBenchmark):
  """MMMU validation; the headline is the accuracy over all questions."""

  name = 'mmmu'
  title = 'MMMU (val)'
  protocol = (
    'First image alone; options as "(A) ..."; LLaVA\'s suffixes; greedy; the '
    'official parser, which draws an option for a reply that names none; '
    'accuracy in percent.'
  )

  def read(self, files):
    """Reads the release or VLMEvalKit's table.

    Args:
      files: `path` is a folder with `<Subject>/validation-*.parquet`, or
        `MMMU_DEV_VAL.tsv`. A suffix takes the place of both.

    Raises:
      ValueError: see the protocol.
    """
    path = storage.path(files.path)
    if path.suffix.lower() == '.tsv':
      form = 'VLMEvalKit'
      records = mmmu_files.table_records(path, files.images)
    else:
      form, records = 'official', mmmu_files.release_records(path)
    rows, faults, several = [], [], 0
    for name, record in records:
      if isinstance(record, ValueError):
        faults.append(f'{name}: {record}')
        continue
      several += record['images'] > 1
      rows.append(_question(name, record, files.suffix))
    rows.sort(key=lambda row: _order(row.reference['subject']))
    notes = []
    if several:
      notes.append(
        f'{several} questions have several images: the first is read'
      )
    return benchmark_files.checked_rows(rows, form, faults, files, path, notes)

  def score(self, rows, replies):
    """See the protocol; `values` has the accuracy of each subject."""
    generator, right, drawn = random.Random(mmmu_replies.SEED), {}, 0
    for row in sorted(rows, key=lambda row: _order(row.reference['subject'])):
      reply, facts = replies.get(row.id, ''), row.reference
      if facts['options']:
        letter, was_drawn = mmmu_replies.choice(
          reply, facts['options'], generator
        )
        drawn += was_drawn
        right[row.id] = float(letter in facts['answer'])
      else:
        parsed = mmmu_replies.values(reply)
        right[row.id] = float(mmmu_replies.is_right(parsed, facts['answer']))
    subjects = {}
    for row in rows:
      subjects.setdefault(row.reference['subject'], []).append(right[row.id])
    choices = sum(bool(row.reference['options']) for row in rows)
    accuracy = 100 * sum(right.values()) / len(right)
    values = {
      'accuracy': accuracy,
      'replies without an option': 100 * drawn / choices if choices else 0.0,
      'subjects': {
        name: 100 * sum(subjects[name]) / len(subjects[name])
        for name in sorted(subjects, key=_order)
      },
    }
    notes = ()
    if drawn:
      notes = (f'{drawn} of {choices} options are drawn at random (seed 42)',)
    return [protocol.Scores('official', accuracy, '%', values, right, notes)]

  def prediction_files(self, rows, replies):
    """See the protocol: `<Subject>/output.json`, and all answers in a file.

    VLMEvalKit's table, whose scorer compares its indices, needs its own rows.
    """
    subjects, answers = {}, {}
    generator = random.Random(mmmu_replies.SEED)
    for row in sorted(rows, key=lambda row: _order(row.reference['subject'])):
      reply, facts = replies.get(row.id, ''), row.reference
      record = {'id': row.id, 'question_type': 'open'}
      record['answer'] = facts['answer']
      answers[row.id] = reply
      if facts['options']:
        answers[row.id], _ = mmmu_replies.choice(
          reply, facts['options'], generator
        )
        record |= {
          'question_type': 'multiple-choice',
          'answer': facts['answer'][0],
          'all_choices': list(facts['options']),
          'index2ans': facts['options'],
        }
      subjects.setdefault(facts['subject'], []).append(
        record | {'response': reply}
      )
    texts = {
      f'{subject}/output.json': json.dumps(records, indent=1) + '\n'
      for subject, records in subjects.items()
    }
    texts['total_val_output.json'] = json.dumps(answers) + '\n'
    if all('index' in row.reference for row in rows):
      texts['MMMU_DEV_VAL.tsv'] = _table(rows, replies)
    return texts


def _table(rows, replies) -> str:
  """Returns the table that VLMEvalKit scores."""
  letters = sorted({x for row in rows for x in row.reference['options']})
  cells = [
    {
      'index': row.reference['index'],
      'question': row.reference['question'],
      **row.reference['options'],
      'answer': row.reference['answer'][0],
      'category': row.reference['subject'],
      'split': 'validation',
    }
    for row in rows
  ]
  columns = ['index', 'question', *letters, 'answer', 'category', 'split']
  texts = {row.reference['index']: replies.get(row.id, '') for row in rows}
  return vlmevalkit.prediction_table(columns, cells, texts)


def _order(subject) -> tuple[int, str]:
  """Returns the place of a subject; unknown ones come last, by name."""
  if subject in SUBJECTS:
    return SUBJECTS.index(subject), ''
  return len(SUBJECTS), subject


def _question(name, record, suffix) -> protocol.ImageQuestion:
  options = {
    chr(ord('A') + n): option for n, option in enumerate(record['options'])
  }
  text = record['question']
  if options:
    text += '\n' + ''.join(f'({x}) {o}\n' for x, o in options.items())
  default = CHOICE_SUFFIX if options else protocol.SHORT_ANSWER
  return protocol.ImageQuestion(
    name,
    record['image'],
    text + (default if suffix is None else suffix),
    {
      # Ids are like validation_Art_Theory_12.
      'subject': '_'.join(name.split('_')[1:-1]),
      'question': record['question'],
      'options': options,
      'answer': record['answer'],
    }
    # The number of the row in VLMEvalKit's table.
    | ({'index': record['index']} if 'index' in record else {}),
  )
