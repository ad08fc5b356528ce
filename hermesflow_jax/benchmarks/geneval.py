"""GenEval: objects, counts, colors and positions (arXiv 2310.11513).

The official scorer needs a detector on a CUDA device (Mask2Former). We write
the folder that it reads, and read the results that it writes. Prompts are never
rewritten.
"""

from collections.abc import Mapping
import json
import pathlib

from hermesflow_jax.benchmarks import benchmark_files
from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.data import input_faults
from hermesflow_jax.runtime import storage

# Images per prompt.
_COUNT = 4
# Names of the tags in the paper's table, in its order.
TAGS = {
  'single_object': 'single object',
  'two_object': 'two objects',
  'counting': 'counting',
  'colors': 'colors',
  'position': 'position',
  'color_attr': 'color attribution',
}


class GenEval(protocol.DrawingBenchmark):
  """GenEval; the headline is the mean over the tags."""

  name = 'geneval'
  title = 'GenEval'
  protocol = (
    'Four images a prompt, as written; official: detector of the authors, mean '
    'of six tag accuracies over images; judge: share of images that the judge '
    'says show the prompt.'
  )

  def read(self, files):
    """Reads the prompts.

    Args:
      files: `path` is `evaluation_metadata.jsonl`, or a folder with it.

    Raises:
      ValueError: see the protocol.
    """
    return benchmark_files.read_prompts(
      files, 'evaluation_metadata.jsonl', _prompt
    )

  def score(self, rows, answers):
    """See the protocol: what a judge says, which is not the official score."""
    right = {
      file: float(answers[file].get('shows') == 'yes')
      for row in rows
      for file in row.files
      if answers.get(file)
    }
    if not right:
      return []
    tags = {file: row.reference['tag'] for row in rows for file in row.files}
    return [_scores('judge', right, tags, ('not the official detector',))]

  def companion_files(self, rows):
    """See the protocol: the prompt's record beside its images."""
    return {
      f'{_folder(row.files[0])}/metadata.jsonl': json.dumps(
        row.reference['metadata']
      )
      for row in rows
    }

  def read_results(self, path, rows):
    """Reads the JSON lines of the official `evaluate_images.py`.

    Args:
      path: file.
      rows: prompts that were drawn.

    Raises:
      ValueError: a line is of another file, or an image has no result.
    """
    prompts = {file: row.prompt for row in rows for file in row.files}
    tags = {file: row.reference['tag'] for row in rows for file in row.files}
    right, faults = {}, []
    for place, value in benchmark_files.read_lines(storage.path(path)):
      try:
        benchmark_files.check_fields(value, {'filename': str, 'prompt': str})
        name = '/'.join(pathlib.PurePath(value['filename']).parts[-3:])
        if name not in prompts:
          raise ValueError(
            f'filename {value["filename"]!r} is no image of this'
          )
        if name in right:
          raise ValueError(f'{name} must have a single result')
        if value['prompt'] != prompts[name]:
          raise ValueError(
            f'prompt must be {prompts[name]!r}, got {value["prompt"]!r}'
          )
        if not isinstance(value.get('correct'), bool):
          raise ValueError(
            f'correct must be true or false, got {value.get("correct")!r}'
          )
        right[name] = float(value['correct'])
      except ValueError as error:
        faults.append(f'{place}: {error}')
    absent = [name for name in prompts if name not in right]
    if absent:
      faults.append(f'{len(absent)} images have no result, e.g. {absent[0]}')
    input_faults.raise_if_any(faults, f'{path}: ')
    return [_scores('official', right, tags, ())]


def _scores(rule, right, tags, notes) -> protocol.Scores:
  by_tag = {}
  for file, value in right.items():
    by_tag.setdefault(tags[file], []).append(value)
  means = {tag: sum(values) / len(values) for tag, values in by_tag.items()}
  overall = sum(means.values()) / len(means)
  order = [tag for tag in TAGS if tag in means]
  order += [tag for tag in means if tag not in TAGS]
  return protocol.Scores(
    rule,
    overall,
    '',
    {'overall': overall} | {TAGS.get(tag, tag): means[tag] for tag in order},
    right,
    tuple(notes),
  )


def _folder(file) -> str:
  return file.partition('/')[0]


def _prompt(number, value) -> protocol.DrawingPrompt:
  """Returns a prompt with its record.

  Raises:
    ValueError: a field is missing.
  """
  benchmark_files.check_fields(
    value, {'tag': str, 'prompt': str, 'include': list}
  )
  if not value['prompt'].strip():
    raise ValueError('prompt must not be empty')
  return protocol.DrawingPrompt(
    f'{number:05d}',
    value['prompt'],
    tuple(f'{number:05d}/samples/{n:04d}.png' for n in range(_COUNT)),
    (shows_question(value['prompt']),),
    {'tag': value['tag'], 'metadata': value},
  )


def shows_question(prompt: str) -> Mapping[str, object]:
  """Returns the question whether an image shows a prompt.

  Args:
    prompt: text that was drawn.
  """
  return {
    'id': 'shows',
    'question': f'Does this image show "{prompt}"? Answer with yes or no.',
    'choices': ['yes', 'no'],
    'answer': 'yes',
  }
