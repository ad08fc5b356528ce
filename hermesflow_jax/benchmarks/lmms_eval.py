"""Logs of lmms-eval: replies that its model `from_log` scores.

`python -m lmms_eval --model from_log --model_args logs=<folder> --tasks <task>`
(github.com/EvolvingLMMs-Lab/lmms-eval) reads every `*.json` below the folder.
"""

from collections.abc import Mapping
import datetime as dt
import json


def log_text(
  task: str, model: str, replies: Mapping[int, str], now: dt.datetime
) -> str:
  """Returns the text of a log file.

  Args:
    task: name of the task, e.g. 'pope'.
    model: name of the model.
    replies: reply by position in the data set of the task.
    now: time of the log; of two logs of a task, lmms-eval takes the later.
  """
  value = {
    'args': {'model': model, 'model_args': '', 'limit': None},
    'model_configs': {'task': task},
    'logs': [
      {'doc_id': number, 'resps': [[reply]]}
      for number, reply in sorted(replies.items())
    ],
    'time': now.strftime('%m%d_%H%M'),
  }
  return json.dumps(value, ensure_ascii=False, indent=1) + '\n'
