"""Logs of lmms-eval: replies that its model `from_log` scores.

`python -m lmms_eval --model from_log --model_args logs=<folder> --tasks <task>`
(github.com/EvolvingLMMs-Lab/lmms-eval) reads every `*.json` below the folder.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import json

from hermesflow_jax.benchmarks import protocol

_MODEL = 'hermesflow_jax'
# Of two logs of a task lmms-eval takes the later. The time of ours is fixed, so
# that a run writes the same file again.
_TIME = '0101_0000'


def prediction_files(
  task: str, rows: Sequence[protocol.ImageQuestion], replies: Mapping[str, str]
) -> dict[str, str]:
  """Returns the log of a task by its path; {} if rows do not name documents.

  Args:
    task: name of the task.
    rows: rows; the data set of the task gives them a `doc_id`.
    replies: reply by id.
  """
  numbers = {row.reference.get('doc_id'): row.id for row in rows}
  if set(numbers) != set(range(len(rows))):
    return {}  # lmms-eval asks for all documents.
  by_number = {n: replies.get(name, '') for n, name in numbers.items()}
  return {f'lmms_eval/{task}.json': log_text(task, by_number)}


def log_text(task: str, replies: Mapping[int, str]) -> str:
  """Returns the text of a log file.

  Args:
    task: name of the task, e.g. 'pope'.
    replies: reply by position in the data set of the task.
  """
  value = {
    'args': {'model': _MODEL, 'model_args': '', 'limit': None},
    'model_configs': {'task': task},
    'logs': [
      {'doc_id': number, 'resps': [[reply]]}
      for number, reply in sorted(replies.items())
    ],
    'time': _TIME,
  }
  return json.dumps(value, ensure_ascii=False, indent=1) + '\n'
