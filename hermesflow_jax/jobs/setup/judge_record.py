"""What a run records of its judge: its name, and how it is asked."""

from collections.abc import Mapping

# Prompt of a judge that gets the questions alone.
QUESTION = '{question}'
# Prompt of a judge that gets the questions with their choices, as they are.
ALL_FIELDS = '{question} {choices}'


def model_prompt(answers) -> str:
  """Returns the words that a model of this library is asked with.

  Args:
    answers: a `judged_job.AnswerSettings`.
  """
  config = answers.answering
  return config.free_prompt if config.free else QUESTION


def describe(record: Mapping) -> str:
  """Returns the judge as a line.

  Args:
    record: from `job_judging.make`.
  """
  prompt = ' '.join(record['prompt'].split())
  return f'judge of generated images: {record["name"]}, asked {prompt!r}'
