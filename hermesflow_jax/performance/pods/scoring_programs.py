"""Programs that score images: answers to questions, likelihood of captions.

Curation, search and evaluation score images by these. As in `programs`, the
arguments are abstract arrays.
"""

from collections.abc import Callable
import functools

import jax
import numpy as np

from hermesflow_jax.checkpoints import model_folder
from hermesflow_jax.models import showo
from hermesflow_jax.performance.pods import programs
from hermesflow_jax.performance.pods import verdicts
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import choice_rules
from hermesflow_jax.sampling import choice_tokens
from hermesflow_jax.sequences import image_to_text

# Questions about an image, their choices and the tokens of a choice, as in
# TIFA.
QUESTIONS, _CHOICES, _ANSWER = 5, 4, 4


def answers(
  model: showo.ShowO,
  sizes: model_folder.Sizes,
  rule: str,
  chunk: int,
  mesh: jax.sharding.Mesh,
) -> verdicts.Program:
  """Returns the program that scores the choices of questions about images.

  The rule `prior` runs it twice for each question.

  Args:
    model: abstract parameters.
    sizes: model, row and image sizes.
    rule: a key in `choice_rules.RULES`.
    chunk: questions that a device answers at once.
    mesh: device mesh.
  """
  shape = (QUESTIONS, _CHOICES, _ANSWER)
  choices = choice_tokens.Choices(
    np.ones(shape, np.int32),
    np.ones(shape, bool),
    np.ones((*shape, _CHOICES), bool),
  )
  score = choice_rules.RULES[rule]
  return _scoring(
    f'answers, {_ANSWER} tokens',
    'answers',
    model,
    sizes,
    choices,
    score,
    chunk,
    mesh,
  )


def caption_likelihood(
  model: showo.ShowO,
  sizes: model_folder.Sizes,
  chunk: int,
  mesh: jax.sharding.Mesh,
) -> verdicts.Program:
  """Returns the program that scores images by their longest captions.

  Args:
    model: abstract parameters.
    sizes: model, row and image sizes.
    chunk: images that a device scores at once.
    mesh: device mesh.
  """
  valid = np.ones((1, 1, sizes.lengths.reply), bool)
  choices = choice_tokens.Choices(
    valid.astype(np.int32), valid, valid[..., None]
  )
  return _scoring(
    f'likelihood, {sizes.lengths.reply} tokens',
    'likelihoods',
    model,
    sizes,
    choices,
    choice_rules.mean_logp,
    chunk,
    mesh,
  )


def _scoring(
  name: str,
  unit: str,
  model: showo.ShowO,
  sizes: model_folder.Sizes,
  choices: choice_tokens.Choices,
  rule: Callable,
  chunk: int,
  mesh: jax.sharding.Mesh,
) -> verdicts.Program:
  """Returns `batched.score_choices` for choices [Q, ...] about each image."""
  questions = len(choices.tokens)
  images = max(1, chunk // questions) * mesh.shape['data']
  codes = np.zeros((images, sizes.grid[0] * sizes.grid[1]), np.int32)
  # The longest prompt; a row also holds four tokens around it.
  length = sizes.lengths.prompt
  prompt = [1] * (length - codes.shape[1] - 4)
  image, prompts, lengths = image_to_text.mmu_parts(
    sizes.vocab, codes, [prompt] * images, length
  )
  prompts, lengths = jax.tree.map(
    lambda a: np.repeat(a[:, None], questions, axis=1), (prompts, lengths)
  )
  choices = jax.tree.map(lambda a: np.stack([a] * images), choices)
  model = programs.serving_model(model, mesh)
  return verdicts.Program(
    name,
    jax.jit(functools.partial(batched.score_choices, rule=rule)),
    (model, *programs.rows_sharding((image, prompts, lengths, choices), mesh)),
    {'parameters': model},
    1,
    1,
    (unit, images * questions),
  )
