"""The answer term of a learning step, with its longest questions."""

import dataclasses

import numpy as np

from hermesflow_jax.checkpoints import model_folder
from hermesflow_jax.pair_dpo import answer_config
from hermesflow_jax.pair_dpo import answer_rows
from hermesflow_jax.pair_dpo import answer_term
from hermesflow_jax.pair_dpo import learning_config
from hermesflow_jax.performance.pods import step_inputs
from hermesflow_jax.runtime import batching

# Tokens of an answer with its end; choices of a question, as in TIFA.
_ANSWER, _CHOICES = 9, 4


def add_answers(
  inputs: step_inputs.StepInputs,
  sizes: model_folder.Sizes,
  config: learning_config.LearningConfig,
  image_tokens: int,
  data: int,
) -> step_inputs.StepInputs:
  """Returns the step with the answer term, if it has a weight.

  Args:
    inputs: the step without it.
    sizes: model, row and image sizes.
    config: settings of the round.
    image_tokens: I, codes per image.
    data: devices along the mesh's `data` axis.
  """
  answers = config.objective.answers
  if not answers.weight:
    return inputs
  row = {'rows': _longest_rows(sizes, answers, image_tokens)}
  if answers.form == 'pairs':
    row['reference'] = np.zeros(2, np.float32)
  loss, prepare = answer_term.add_to_functions(
    inputs.loss,
    inputs.prepare,
    answers,
    config.label_rows,
    inputs.parts * config.optim.accumulate * data,
  )
  questions = batching.stack([row] * (config.batch * answers.questions))
  return dataclasses.replace(
    inputs,
    loss=loss,
    prepare=prepare,
    batch=inputs.batch | {'answers': questions},
  )


def _longest_rows(
  sizes: model_folder.Sizes,
  config: answer_config.AnswerConfig,
  image_tokens: int,
) -> answer_rows.AnswerRows:
  """Returns the rows of a question whose prompt is as long as rows allow."""
  image = image_tokens + 3
  prompt = sizes.lengths.prompt - image
  copies = {'sft': 1, 'pairs': 2, 'grpo': _CHOICES}[config.form]
  return answer_rows.AnswerRows(
    image=np.ones(image, np.int32),
    texts=np.ones((copies, prompt + _ANSWER - 1), np.int32),
    length=np.array(prompt, np.int32),
    answers=np.ones((copies, _ANSWER), np.int32),
  )
