"""Adds the answer term to a round of learning, beside any method."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.data import input_set
from hermesflow_jax.data import pipeline
from hermesflow_jax.pair_dpo import answer_config
from hermesflow_jax.pair_dpo import answer_losses
from hermesflow_jax.pair_dpo import answer_rows
from hermesflow_jax.pair_dpo import answer_scores
from hermesflow_jax.pair_dpo import learning_config
from hermesflow_jax.pair_dpo import throughput
from hermesflow_jax.training import train_step

# Separates the order of questions from the order of records with the same seed.
_QUESTIONS = 0xA5
# Questions whose lengths represent all questions in metrics of speed.
_SAMPLED = 200


@dataclasses.dataclass(frozen=True)
class AnswerTerm:
  """The answer term of a round.

  Attributes:
    config: settings of the term.
    questions: N questions.
    source: numbers of the questions that batches are drawn from.
    own: with `wrong` 'own', numbers of the frozen model's answers.
    reference: float32[N, C], log-likelihoods of all answers under the frozen
      model, the right answer first; None unless the form is 'pairs'.
    make_row: see `answer_rows.make_transform`.
    count: C, most answers to a question.
    images: real images of the inputs, for a model that reads CLIP features; or
      None.
    seed: seed of the round.
    batch: records in a step.
    chunk_size: see `answer_losses.answer_logps`.
    mesh: device mesh.
  """

  config: answer_config.AnswerConfig
  questions: Sequence[answer_rows.Question]
  source: Sequence[int] | pipeline.Mixture
  own: Sequence[int]
  reference: np.ndarray | None
  make_row: Callable
  count: int
  images: Any
  seed: int
  batch: int
  chunk_size: int
  mesh: Any

  def add_to_batches(self, batches: Callable) -> Callable:
    """Returns batches of records with a batch of questions as 'answers'.

    Args:
      batches: first step -> iterator over device batches.
    """

    def with_answers(start: int) -> Iterator[dict]:
      answers = pipeline.batches(
        self.source,
        self.transform,
        seed=self.seed + _QUESTIONS,
        batch=self.batch * self.config.questions,
        start=start,
        mesh=self.mesh,
      )
      for batch, rows in zip(batches(start), answers):
        yield batch | {'answers': rows}

    return with_answers

  def transform(self, number: int, rng: np.random.Generator) -> dict:
    """Returns the row of a question.

    Args:
      number: position of the question.
      rng: draws the wrong answer, if the settings ask for any.
    """
    question = self.questions[number]
    chosen = self._choose_answers(number, rng)
    row = {'rows': self.make_row(question, chosen)}
    if self.config.form == 'pairs':
      row['reference'] = self.reference[number][chosen]
    if self.images is not None:
      row['pixels'] = np.asarray(self.images[[question.place]])[0]
    return row

  def _choose_answers(self, number, rng):
    """Returns the numbers of the answers in the row of a question."""
    question = self.questions[number]
    if self.config.form == 'grpo':
      return answer_rows.all_answers(question, self.count)
    if self.config.form == 'sft':
      return [0]
    if self.config.wrong == 'own':
      return [0, self.own[number]]
    if self.config.wrong == 'random':
      return [0, int(rng.integers(1, len(question.answers)))]
    return [0, 1 + int(self.reference[number][1:].argmax())]

  def add_to_work(
    self, work: throughput.UsefulWork, config, passes: int
  ) -> throughput.UsefulWork:
    """Returns the useful work in a step, with that of the term.

    Args:
      work: useful work for the records.
      config: ShowOConfig.
      passes: the policy's work in a step, in forward passes.
    """
    numbers = range(0, len(self.questions), 1 + len(self.questions) // _SAMPLED)
    rng = np.random.default_rng(0)
    rows = (
      self.make_row(self.questions[n], self._choose_answers(n, rng))
      for n in numbers
    )
    answers = sum(
      (throughput.answer_work(config, row) for row in rows),
      throughput.ForwardWork(),
    )
    answers *= self.batch * self.config.questions / len(numbers)
    return dataclasses.replace(
      work,
      tokens=work.tokens + float(answers.tokens),
      flops=work.flops + float(passes * answers.flops),
    )

  def add_to_functions(
    self, loss: Callable, prepare: Callable, multiple: int = 1
  ) -> tuple[train_step.HashablePartial, train_step.HashablePartial]:
    """Returns (loss, prepare) with the term; see `train_step.make_step`.

    Args:
      loss: loss of the batches of records.
      prepare: their preparation.
      multiple: see `add_to_functions`.
    """
    return add_to_functions(
      loss, prepare, self.config, self.chunk_size, multiple
    )


def add_to_functions(
  loss: Callable,
  prepare: Callable,
  config: answer_config.AnswerConfig,
  chunk_size: int,
  multiple: int = 1,
) -> tuple[train_step.HashablePartial, train_step.HashablePartial]:
  """Returns (loss, prepare) with the term; see `train_step.make_step`.

  Args:
    loss: loss of the batches of records.
    prepare: their preparation.
    config: settings of the term.
    chunk_size: see `answer_losses.answer_logps`.
    multiple: questions that count nothing fill up a batch to a multiple.
  """
  return (
    train_step.hashable_partial(
      _loss, loss=loss, config=config, chunk_size=chunk_size
    ),
    train_step.hashable_partial(_prepare, prepare=prepare, multiple=multiple),
  )


def _loss(model, constants, batch, key=None, *, loss, config, chunk_size):
  batch = dict(batch)
  answers = batch.pop('answers')
  total, metrics = loss(model, constants, batch, key)
  term, answer_metrics = answer_losses.loss(model, answers, config, chunk_size)
  return total + config.weight * term, metrics | answer_metrics


def _prepare(batch, key, *, prepare, multiple):
  batch = dict(batch)
  answers = batch.pop('answers')
  count = len(answers['rows'].length)
  share = jnp.full(count, 1 / count, jnp.float32)
  answers = answers | {'share': share}
  if surplus := -count % multiple:
    answers = jax.tree.map(
      lambda a: a[jnp.arange(count + surplus) % count], answers
    )
    answers['share'] = answers['share'].at[count:].set(0.0)
  return prepare(batch, key) | {'answers': answers}


def content_hash(inputs: input_set.Inputs) -> str:
  """Hashes the questions and images that a term learns from."""
  return pipeline.content_hash(
    {'id': name, 'questions': records, 'codes': codes}
    for name, records, codes in zip(
      inputs.ids, inputs.questions, inputs.codes, strict=True
    )
  )


def make_term(
  unified,
  reference,
  inputs: input_set.Inputs,
  learning: learning_config.LearningConfig,
  number: int,
) -> AnswerTerm | None:
  """Returns the answer term of a round; None if no question is left.

  If the settings ask for it, the frozen model answers the questions before the
  round; with form 'pairs' it also scores the answers.

  Args:
    unified: a `unified_model.UnifiedModel`, the model to train.
    reference: frozen ShowO.
    inputs: inputs with questions, whether or not they have pairs.
    learning: settings of the round.
    number: round number.

  Raises:
    ValueError: no input has a question to learn from.
  """
  config = learning.objective.answers
  batch, chunk_size = learning.batch, learning.label_rows
  questions = answer_rows.read_questions(unified, inputs)
  if not questions:
    raise ValueError(
      'objective.answers.weight must be 0 for inputs without questions that '
      f'have an answer and a wrong choice, got {config.weight}'
    )
  images = None if unified.vision is None else inputs.pixels
  chosen = answer_scores.choose_questions(
    unified, reference, inputs, questions, config
  )
  every = range(len(questions))
  if config.unsure_share == 1 or config.wrong == 'own':
    questions = questions.select(list(chosen))
    source = range(len(questions))
  elif chosen and config.unsure_share:
    shares = config.unsure_share, 1 - config.unsure_share
    source = pipeline.Mixture((list(chosen), every), shares)
  else:
    source = every
  if not questions:
    return None
  logps = None
  if config.form == 'pairs':
    logps = answer_scores.reference_logps(
      unified, reference, questions, images, batch, chunk_size
    )
  # Of these questions alone: others may have many more choices.
  lengths = answer_rows.row_lengths(questions)
  return AnswerTerm(
    config,
    questions,
    source,
    list(chosen.values()),
    logps,
    answer_rows.make_transform(unified, lengths),
    lengths.count,
    images,
    learning.seed + number,
    batch,
    chunk_size,
    unified.mesh,
  )
