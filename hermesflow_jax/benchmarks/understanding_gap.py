"""The gap between understanding and generation, on questions about images.

HermesFlow (arXiv 2502.12148), table 4. Understanding: the model answers
questions about the real image, by the likeliest choice. Generation: a judge
answers the same questions about an image that the model draws of the caption.
"""

from collections.abc import Mapping
import itertools

import numpy as np

from hermesflow_jax.benchmarks import answer_names
from hermesflow_jax.benchmarks import benchmark_files
from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.data import image_folder
from hermesflow_jax.data import input_faults
from hermesflow_jax.data import input_set
from hermesflow_jax.data import record_files
from hermesflow_jax.evaluation import gap
from hermesflow_jax.runtime import storage

_TIFA = {'id', 'caption', 'question', 'choices', 'answer'}
_SUFFIXES = ('.jpg', '.png', '.jpeg', '.webp')


class UnderstandingGap(protocol.DrawingBenchmark):
  """The gap; the headline is understanding minus generation, from 0 to 1."""

  name = 'gap'
  title = 'Gap'
  protocol = (
    'The model answers questions about the real image (the likeliest choice), '
    'and the judge of this run about an image that the model draws of the '
    'caption; share of right answers, mean over images; gap: the difference.'
  )

  def read(self, files):
    """Reads images with captions and questions.

    Args:
      files: `path`, `images` and `questions` are those of a data set of
        `record_files`, as for `pair_dpo`; or `path` is a TIFA file, and
        `images` has an image by the id of each caption (of `coco_<number>`,
        the image of COCO val2014).

    Raises:
      ValueError: see the protocol.
    """
    left_out = []
    if not files.questions and _is_tifa(files.path):
      form, records = 'TIFA', _tifa_records(files, left_out)
    else:
      source = record_files.Source(
        annotations=files.path,
        images=files.images,
        questions=files.questions,
        on_error=files.on_error,
      )
      # Images are opened together with those of other benchmarks.
      records = record_files.read_records(source, left_out.append, opened=0)
      form = 'data set'
    rows = [
      protocol.DrawingPrompt(
        record['id'],
        record['caption'],
        (f'{number:05d}.png',),
        tuple(
          question | {'id': str(place)}
          for place, question in enumerate(record['questions'])
        ),
        image=record['path'],
      )
      for number, record in enumerate(records)
    ]
    return protocol.BenchmarkRows(rows, form, tuple(left_out))

  def score(self, rows, answers):
    """See the protocol; `values` also has the shares by type of question.

    An image does not show its prompt if a question about it is answered wrong.
    The share of these by the model itself stands beside the judge's.
    """
    by_kind: dict[str, dict[str, Mapping]] = {}
    types = {}
    for row in rows:
      (file,) = row.files
      own = {
        'understanding': answers.get(answer_names.real_image(file)),
        'generation': answers.get(file),
        'own': answers.get(answer_names.own_answers(file)),
      }
      if not all(own.values()):
        continue
      for kind, values in own.items():
        texts = [values.get(q['id'], '') for q in row.questions]
        right = input_set.correct_answers(texts, row.questions)
        by_kind.setdefault(kind, {})[row.id] = right
        for question, value in zip(row.questions, right, strict=True):
          types.setdefault(str(question['element_type']), {}).setdefault(
            kind, []
          ).append(value)
    if not by_kind:
      return []
    shares = {
      kind: {name: float(np.mean(right)) for name, right in own.items()}
      for kind, own in by_kind.items()
    }
    understanding, generation = shares['understanding'], shares['generation']
    gaps = {n: value - generation[n] for n, value in understanding.items()}
    means = {
      'understanding': float(np.mean(list(understanding.values()))),
      'generation': float(np.mean(list(generation.values()))),
      'gap': float(np.mean(list(gaps.values()))),
    }
    wrong = {
      kind: float(np.mean([not all(right) for right in by_kind[kind].values()]))
      for kind in ('own', 'generation')
    }
    values = {
      **means,
      'standard error of the gap': gap.standard_error(
        np.array([*gaps.values()])
      ),
      'drawings that do not show the prompt, says the model': wrong['own'],
      'drawings that do not show the prompt, says the judge': (
        wrong['generation']
      ),
      'by type': {
        kind: {
          'understanding': float(np.mean(own['understanding'])),
          'generation': float(np.mean(own['generation'])),
          'gap': float(
            np.mean(own['understanding']) - np.mean(own['generation'])
          ),
        }
        for kind, own in sorted(types.items())
      },
    }
    return [
      protocol.Scores('gap', means['gap'], 'lower is better', values, gaps),
      *(
        protocol.Scores(name, means[name], '', {}, shares[name])
        for name in ('understanding', 'generation')
      ),
    ]


def _is_tifa(path) -> bool:
  """Returns whether a file has questions alone, with their captions."""
  location = storage.path(path)
  if path.startswith('tfds:') or not storage.is_file(location):
    return False
  if location.suffix.lower() not in ('.json', '.jsonl'):
    return False
  try:
    first = next(iter(benchmark_files.read_lines(location)), ('', None))[1]
  except ValueError:
    return False
  return isinstance(first, dict) and first.keys() >= _TIFA


def _tifa_records(files, left_out) -> list[dict]:
  """Returns the records of a TIFA file whose images are in a folder.

  Raises:
    ValueError: names all faults.
  """
  path = storage.path(files.path)
  captions, faults = benchmark_files.read_tifa(path)
  folder = image_folder.ImageFolder(files.images or str(path.parent))
  records = []
  for name, (caption, questions) in captions.items():
    image = input_faults.attempt(faults, _image, folder, name)
    if image is not None and questions:
      records.append(
        {'id': name, 'caption': caption, 'questions': questions, 'path': image}
      )
  input_faults.raise_or_report(
    faults, len(records), files.on_error, lambda line: None, str(path)
  )
  left_out += faults
  return records


def _image(folder, name):
  """Returns the image of a caption.

  Raises:
    ValueError: there is no such image.
  """
  number = name.removeprefix('coco_')
  if number != name and number.isdigit():
    return benchmark_files.coco_image(folder, int(number), 'val2014')
  for suffix in itertools.chain(_SUFFIXES, ('',)):
    try:
      return folder.find(name + suffix, 'image')
    except ValueError:
      continue
  return folder.find(name + _SUFFIXES[0], 'image')
