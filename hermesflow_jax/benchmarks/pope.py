"""POPE: whether objects are in COCO images (arXiv 2305.10355).

The official release has a JSONL file for each split; questions about 500 images
of COCO val2014 in three splits, which differ in how absent objects are chosen.
"""

import dataclasses
import json
import re

from hermesflow_jax.benchmarks import benchmark_files
from hermesflow_jax.benchmarks import lmms_eval
from hermesflow_jax.benchmarks import parquet_rows
from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.benchmarks import vlmevalkit
from hermesflow_jax.benchmarks import yes_no
from hermesflow_jax.data import image_folder
from hermesflow_jax.runtime import storage

SPLITS = ('random', 'popular', 'adversarial')
_PARSERS = {
  'official': yes_no.official,
  'lmms-eval': yes_no.exact,
  'VLMEvalKit': yes_no.extracted,
}
# The name of a file in the official release ends with its split.
_FILE = re.compile(r'(?:^|[_-])(random|popular|adversarial)\.jsonl?$')


class Pope(protocol.UnderstandingBenchmark):
  """POPE; the headline is the mean accuracy over the splits."""

  name = 'pope'
  title = 'POPE'
  protocol = (
    'Question and "Answer the question using a single word or phrase."; greedy;'
    ' three parsers; mean accuracy over the splits, in percent.'
  )

  def read(self, files):
    """Reads official JSONL files of a folder, or VLMEvalKit's table.

    Args:
      files: `path` is the official folder (`coco_pope_random.json`, ...),
        `POPE.tsv`, or a folder with `test-*.parquet` of lmms-eval; `images` is
        the folder of COCO val2014 with the first.

    Raises:
      ValueError: see the protocol.
    """
    path = storage.path(files.path)
    suffix = protocol.SHORT_ANSWER if files.suffix is None else files.suffix
    if parquet_rows.names_in(path):
      form, pairs = 'lmms-eval', _document_rows(path, suffix)
    elif path.suffix.lower() == '.tsv':
      form, pairs = 'VLMEvalKit', _table_rows(path, files.images, suffix)
    else:
      form, pairs = 'official', _official_rows(path, files.images, suffix)
    rows, faults = [], []
    for row, fault in pairs:
      rows += [] if fault else [row]
      faults += [fault] if fault else []
    splits = {row.reference['split'] for row in rows}
    absent = [split for split in SPLITS if split not in splits]
    notes = (f'no questions of {", ".join(absent)}',) if absent else ()
    return benchmark_files.checked_rows(rows, form, faults, files, path, notes)

  def score(self, rows, replies):
    """See the protocol; `values` has the scores of each split."""
    return [
      _scores(rule, parse, rows, replies) for rule, parse in _PARSERS.items()
    ]

  def prediction_files(self, rows, replies):
    """See the protocol: JSONL files of splits, tables and logs of harnesses."""
    texts = {}
    # The official script compares line by line, in the order of its ids.
    for row in sorted(rows, key=_place):
      name = f'coco_pope_{row.reference["split"]}.jsonl'
      line = {
        'question_id': row.reference['question_id'],
        'question': row.reference['question'],
        'answer': replies.get(row.id, ''),
      }
      texts[name] = texts.get(name, '') + json.dumps(line) + '\n'
    columns = ('index', 'question', 'answer', 'category')
    table = [
      {
        'index': number,
        'question': row.reference['question'],
        'answer': row.reference['label'].capitalize(),
        'category': row.reference['split'],
      }
      for number, row in enumerate(rows)
    ]
    numbered = {str(n): replies.get(row.id, '') for n, row in enumerate(rows)}
    texts['POPE.tsv'] = vlmevalkit.prediction_table(columns, table, numbered)
    return texts | lmms_eval.prediction_files(self.name, rows, replies)


def _place(row) -> int:
  number = str(row.reference['question_id'])
  return int(number) if 'doc_id' in row.reference and number.isdigit() else 0


def _scores(rule, parse, rows, replies) -> protocol.Scores:
  answers = [parse(replies.get(row.id, '')) for row in rows]
  labels = [row.reference['label'] for row in rows]

  def percentages(places):
    counts = yes_no.count(
      [answers[n] for n in places], [labels[n] for n in places]
    )
    if rule == 'lmms-eval':
      return counts.lmms_eval_percentages()
    return counts.percentages()

  by_split = {}
  for split in SPLITS:
    places = [
      n for n, row in enumerate(rows) if row.reference['split'] == split
    ]
    if places:
      by_split[split] = percentages(places)
  means = {
    'mean of splits': {
      name: sum(values[name] for values in by_split.values()) / len(by_split)
      for name in next(iter(by_split.values()))
    }
  }
  headline = means['mean of splits']['accuracy']
  if rule != 'official':
    # The harnesses put the questions of all splits together.
    means['all questions'] = percentages(range(len(rows)))
    name = 'f1' if rule == 'VLMEvalKit' else 'accuracy'
    headline = means['all questions'][name]
  neither = sum(answer not in ('yes', 'no') for answer in answers)
  return protocol.Scores(
    rule,
    headline,
    '%',
    {**means, **by_split},
    {
      row.id: float(answer == label)
      for row, answer, label in zip(rows, answers, labels, strict=True)
    },
    (f'{neither} of {len(rows)} replies are neither yes nor no',)
    if neither
    else (),
  )


def _official_rows(path, images, suffix):
  """Yields (question, fault) of the official files.

  Raises:
    ValueError: the folder or a file cannot be read.
  """
  if not path.is_dir():
    raise ValueError(
      f'path of pope must be a folder with coco_pope_random.json and the other '
      f'splits, or POPE.tsv, got {path}'
    )
  names = sorted(n for n in storage.list_names(path) if _FILE.search(n))
  if not names:
    raise ValueError(
      f'path of pope must have files whose names end with _random.json, '
      f'_popular.json or _adversarial.json, got {path}'
    )
  folder = image_folder.ImageFolder(images or str(path))
  splits = [_split(name) for name in names]
  if len(set(splits)) < len(splits):
    raise ValueError(
      f'path of pope must have a file for each split, got {", ".join(names)} '
      f'in {path}; give a folder with those of a single data set'
    )
  for name in sorted(names, key=lambda n: SPLITS.index(_split(n))):
    seen = set()
    for place, value in benchmark_files.read_lines(path / name):
      try:
        row = _question(value, _split(name), folder, suffix)
        if row.id in seen:
          raise ValueError(f'duplicate question_id {value["question_id"]}')
        seen.add(row.id)
        yield row, ''
      except ValueError as error:
        yield None, f'{name}, {place}: {error}'


def _split(name) -> str:
  return _FILE.search(name)[1]


def _question(value, split, folder, suffix) -> protocol.ImageQuestion:
  """Returns the question of a line.

  Raises:
    ValueError: the line lacks a field, or the image does not exist.
  """
  benchmark_files.check_fields(value, {})
  number = value.get('question_id')
  if number is None:
    raise ValueError("'question_id' is missing")
  if not isinstance(number, int | str):
    raise ValueError(
      f"'question_id' must be a number or text, got {number!r:.60}"
    )
  benchmark_files.check_fields(value, {'image': str, 'text': str, 'label': str})
  label, question = value['label'].strip().lower(), value['text']
  if label not in ('yes', 'no'):
    raise ValueError(f"label must be 'yes' or 'no', got {value['label']!r}")
  return _row(
    f'{split}/{value["question_id"]}',
    folder.find(value['image'], 'image'),
    question,
    suffix,
    label,
    split,
    value['question_id'],
  )


def _row(name, image, question, suffix, label, split, question_id):
  return protocol.ImageQuestion(
    name,
    image,
    question + suffix,
    {
      'question_id': question_id,
      'question': question,
      'label': label,
      'split': split,
    },
  )


def _document_rows(path, suffix):
  """Yields (question, fault) of the data set that lmms-eval reads.

  Raises:
    ValueError: a file cannot be read.
  """
  columns = ('question_id', 'question', 'answer', 'category')
  for number, cells, image in parquet_rows.read(path, columns):
    label, split = cells['answer'].strip().lower(), cells['category']
    if label not in ('yes', 'no') or split not in SPLITS:
      yield None, f'row {number}: answer or category has {label!r}, {split!r}'
      continue
    row = _row(
      f'{split}/{cells["question_id"]}',
      image,
      cells['question'],
      suffix,
      label,
      split,
      cells['question_id'],
    )
    reference = {**row.reference, 'doc_id': number}
    yield dataclasses.replace(row, reference=reference), ''


def _table_rows(path, images, suffix):
  """Yields (question, fault) of VLMEvalKit's table.

  Raises:
    ValueError: the table cannot be read.
  """
  table = vlmevalkit.Table(path)
  for number, cells in enumerate(table.rows):
    try:
      label = cells.get('answer', '').strip().lower()
      if label not in ('yes', 'no'):
        raise ValueError(f'answer must be Yes or No, got {label!r}')
      image = table.image(number, images)
      # A question may be in several splits, with commas between their names.
      splits = [s.strip() for s in cells.get('category', '').split(',')]
      if unknown := [s for s in splits if s not in SPLITS]:
        raise ValueError(f'category must name splits, got {unknown[0]!r}')
    except ValueError as error:
      yield None, f'index {cells["index"]}: {error}'
      continue
    for split in splits:
      yield (
        _row(
          f'{split}/{cells["index"]}',
          image,
          cells['question'],
          suffix,
          label,
          split,
          cells['index'],
        ),
        '',
      )
