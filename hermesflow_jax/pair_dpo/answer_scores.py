"""Answers of the frozen model before a round: its choices, and their scores."""

from collections.abc import Sequence
import dataclasses
import functools
import itertools

import jax
import numpy as np

from hermesflow_jax.data import input_set
from hermesflow_jax.data import lazy_images
from hermesflow_jax.pair_dpo import answer_config
from hermesflow_jax.pair_dpo import answer_losses
from hermesflow_jax.pair_dpo import answer_rows
from hermesflow_jax.pair_dpo import real_images
from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import sharding


def choose_questions(
  unified,
  reference,
  inputs: input_set.Inputs,
  questions: Sequence[answer_rows.Question],
  config: answer_config.AnswerConfig,
) -> dict[int, int]:
  """Returns the questions that the frozen model is unsure of.

  With wrong answers of its own, those that it also answers wrongly.

  Args:
    unified: a `unified_model.UnifiedModel`, for its tokenizers and its mesh.
    reference: frozen ShowO.
    inputs: inputs with the questions.
    questions: from `answer_rows.read_questions`, in the order of the inputs.
    config: settings of the term.

  Returns:
    By number of the question, the number of the frozen model's answer among its
    answers; -1 if all questions are chosen and none is asked.
  """
  if config.confidence == 1 and config.wrong != 'own':
    return dict.fromkeys(range(len(questions)), -1)
  silent = dataclasses.replace(
    unified, model=reference, progress=lambda label: lambda items: items
  )
  records = [[] for _ in inputs.ids]
  for question in questions:
    record = inputs.questions[question.place][question.number]
    records[question.place].append(record)
  answered = silent.answerer.probabilities(inputs.images, records)
  flat = itertools.chain.from_iterable
  chosen = {}
  for number, (question, shares) in enumerate(
    zip(questions, flat(answered), strict=True)
  ):
    choice = max(shares, key=shares.get)
    answer = question.choices.index(choice)
    if shares[choice] <= config.confidence and (
      answer or config.wrong != 'own'
    ):
      chosen[number] = answer
  return chosen


def reference_logps(
  unified,
  reference,
  questions: Sequence[answer_rows.Question],
  images: lazy_images.LazyImages | None,
  batch: int,
  chunk_size: int,
) -> np.ndarray:
  """Returns log-likelihoods of all answers under the frozen model.

  Args:
    unified: a `unified_model.UnifiedModel`, for its tokenizers and its mesh.
    reference: frozen ShowO.
    questions: N questions.
    images: real images of the inputs, for a model that reads CLIP features.
    batch: questions that are scored at once.
    chunk_size: see `answer_losses.answer_logps`.

  Returns:
    float32[N, C], the right answer first; LOWEST where a question has fewer
    answers.
  """
  lengths = answer_rows.row_lengths(questions)
  make_row = answer_rows.make_transform(unified, lengths)

  def build(index):
    chosen = [questions[n] for n in index]
    return batching.stack(
      [make_row(q, answer_rows.all_answers(q, lengths.count)) for q in chosen]
    )

  rows = batching.BuiltRows(len(questions), build, divided=True)
  score = functools.partial(
    _score, reference, unified.vision, chunk_size=chunk_size, mesh=unified.mesh
  )
  pixels = images and images[[q.place for q in questions]]
  return batching.map_batches(score, (rows, pixels), batch, unified.mesh)


@functools.partial(jax.jit, static_argnames=('chunk_size', 'mesh'))
def _score(reference, tower, batch, *, chunk_size, mesh):
  rows, pixels = batch
  with sharding.use_mesh(mesh):
    if pixels is not None:
      rows = real_images.add_features(tower, rows, pixels)
    return answer_losses.answer_logps(reference, rows, chunk_size)
