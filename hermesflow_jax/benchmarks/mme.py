"""MME: two yes-or-no questions about each image (arXiv 2306.13394).

Fourteen subtasks. The score of a subtask is 100 times the accuracy plus 100
times the share of images with two right answers.
"""

from hermesflow_jax.benchmarks import benchmark_files
from hermesflow_jax.benchmarks import lmms_eval
from hermesflow_jax.benchmarks import mme_files
from hermesflow_jax.benchmarks import parquet_rows
from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.benchmarks import vlmevalkit
from hermesflow_jax.benchmarks import yes_no
from hermesflow_jax.runtime import storage

# The questions end with these words; LLaVA's suffix takes their place.
_OWN_SUFFIX = ' Please answer yes or no.'


def official(reply: str) -> str:
  """Parses a reply as MME's own script does.

  Args:
    reply: text of the model.

  Returns:
    'yes' or 'no', by the first four characters; 'other' without these.
  """
  return _of_start(reply.lower())


def trimmed(reply: str) -> str:
  """Parses a reply as lmms-eval does: without spaces and dots, 'y' is yes.

  Args:
    reply: text of the model.
  """
  text = reply.lower().strip().replace('.', '')
  if len(text) == 1:
    return {'y': 'yes', 'n': 'no'}.get(text, 'other')
  return _of_start(text)


def _of_start(text) -> str:
  for answer in ('yes', 'no'):
    if answer in text[:4]:
      return answer
  return 'other'


_PARSERS = {
  'official': official,
  'lmms-eval': trimmed,
  'VLMEvalKit': yes_no.extracted,
}


class Mme(protocol.UnderstandingBenchmark):
  """MME; the headline is the perception score of 2,000."""

  name = 'mme'
  title = 'MME perception'
  rows_together = 2
  protocol = (
    'Question with "Answer the question using a single word or phrase." in the '
    'place of "Please answer yes or no."; greedy; accuracy plus share of images'
    ' with two right answers, summed over ten subtasks (of 2000).'
  )

  def read(self, files):
    """Reads the official release, its table of results, or VLMEvalKit's table.

    Args:
      files: `path` is the release (a folder per subtask), a folder with a
        `<subtask>.txt` each as the official script reads it (then `images` is
        the release), `MME.tsv`, or a folder with `test-*.parquet` of lmms-eval.

    Raises:
      ValueError: see the protocol.
    """
    path, faults = storage.path(files.path), []
    if parquet_rows.names_in(path):
      form = 'lmms-eval'
      pairs = mme_files.document_questions(path, faults)
    elif path.suffix.lower() == '.tsv':
      form, pairs = (
        'VLMEvalKit',
        mme_files.table_questions(path, files.images, faults),
      )
    elif any((path / f'{name}.txt').is_file() for name in mme_files.SUBTASKS):
      images = storage.path(files.images or files.path)
      form = 'table of results'
      pairs = mme_files.result_questions(path, images, faults)
    else:
      form, pairs = 'official', mme_files.release_questions(path, faults)
    rows = []
    for subtask, image, questions in pairs:
      if len(questions) != 2:
        faults.append(
          f'{subtask}/{image[0]} must have two questions, got {len(questions)}'
        )
        continue
      rows += [
        _question(subtask, image, number, question, label, files.suffix, *place)
        for number, (question, label, *place) in enumerate(questions)
      ]
    if not rows and not faults:
      raise ValueError(
        f'path of mme must have folders of subtasks (existence, count, ...) or '
        f'be MME.tsv, got {path}'
      )
    present = {row.reference['subtask'] for row in rows}
    absent = [name for name in mme_files.SUBTASKS if name not in present]
    notes = (f'no questions of {", ".join(absent)}',) if absent else ()
    return benchmark_files.checked_rows(rows, form, faults, files, path, notes)

  def score(self, rows, replies):
    """See the protocol; `values` has both sums and the subtasks."""
    return [
      _scores(rule, parse, rows, replies) for rule, parse in _PARSERS.items()
    ]

  def prediction_files(self, rows, replies):
    """See the protocol: `<subtask>.txt`, tables and logs of harnesses."""
    texts, table = {}, []
    for number, row in enumerate(rows):
      facts, reply = row.reference, replies.get(row.id, '')
      cells = [facts['image'], facts['question'], facts['label'].capitalize()]
      name = f'{facts["subtask"]}.txt'
      line = '\t'.join([*cells, ' '.join(reply.split()) if reply else ''])
      texts[name] = texts.get(name, '') + line + '\n'
      table.append(
        {
          'index': number,
          'category': facts['subtask'],
          'image_path': facts['image'],
          'question': facts['question'],
          'answer': facts['label'].capitalize(),
        }
      )
    numbered = {str(n): replies.get(row.id, '') for n, row in enumerate(rows)}
    texts['MME.tsv'] = vlmevalkit.prediction_table(
      list(table[0]) if table else ['index'], table, numbered
    )
    return texts | lmms_eval.prediction_files(self.name, rows, replies)


def _scores(rule, parse, rows, replies) -> protocol.Scores:
  right, others = {}, 0
  for row in rows:
    answer = parse(replies.get(row.id, ''))
    right[row.id] = float(answer == row.reference['label'])
    others += answer not in ('yes', 'no')
  images = {}
  for row in rows:
    facts = row.reference
    pairs = images.setdefault(facts['subtask'], {})
    pairs.setdefault(facts['image'], []).append(right[row.id])
  subtasks = {}
  for name in mme_files.SUBTASKS:
    if name in images:
      pairs = list(images[name].values())
      accuracy = sum(map(sum, pairs)) / sum(map(len, pairs))
      both = sum(all(pair) for pair in pairs) / len(pairs)
      subtasks[name] = 100 * accuracy + 100 * both
  perception = sum(subtasks.get(name, 0) for name in mme_files.PERCEPTION)
  cognition = sum(subtasks.get(name, 0) for name in mme_files.COGNITION)
  notes = []
  if others:
    notes.append(f'{others} of {len(rows)} replies are neither yes nor no')
  if len(subtasks) < len(mme_files.SUBTASKS):
    notes.append(
      f'sums over {len(subtasks)} of {len(mme_files.SUBTASKS)} subtasks: not '
      'comparable'
    )
  return protocol.Scores(
    rule,
    perception,
    'of 2000',
    {'perception': perception, 'cognition': cognition, 'subtasks': subtasks},
    right,
    tuple(notes),
  )


def _question(subtask, image, number, question, label, suffix, document=None):
  name, path = image
  text = question
  if suffix is None:
    text = question.replace(_OWN_SUFFIX, '') + protocol.SHORT_ANSWER
  elif suffix:
    text = question.replace(_OWN_SUFFIX, '') + suffix
  return protocol.ImageQuestion(
    f'{subtask}/{name}/{number}',
    path,
    text,
    {'subtask': subtask, 'image': name, 'question': question, 'label': label}
    | ({} if document is None else {'doc_id': document}),
  )
