"""Settings for learning from answers to the inputs' questions."""

import dataclasses
import typing

from hermesflow_jax.runtime import settings

FORMS = ('sft', 'pairs', 'grpo')
# Wrong answers that a pair can have.
WRONG = ('likeliest', 'random', 'own')


@dataclasses.dataclass(frozen=True)
class AnswerConfig:
  """Settings for the answer term, see `answer_losses`.

  Attributes:
    weight: weight of the term in the loss; 0: the model learns from no answers.
    form: 'sft' (likelihood of right answers), 'pairs' (right answers over wrong
      answers, DPO) or 'grpo' (expected reward of the model's answers).
    questions: questions in a step for each record of the batch. They are drawn
      from all questions of the round's inputs, also of inputs without pairs.
    confidence: the frozen model is unsure of a question if it gives its own
      answer at most this probability. The right answer plays no part, so that
      failures are not selected.
    unsure_share: share of questions that it is unsure of in a step; the others
      are drawn from all questions.
    beta: scale of the margins, with form 'pairs'.
    wrong: the wrong answer of a pair: 'likeliest' (the frozen model's likeliest
      wrong choice), 'random' (any wrong choice), or 'own' (the frozen model's
      answer, so that only questions that it answers wrongly are learned from).
    sft_weight: weight of the right answers' negative log-likelihood per token,
      added to the forms 'pairs' and 'grpo' before `weight` is applied.
  """

  weight: settings.NonNegativeFloat = 0.0
  form: typing.Annotated[str, settings.one_of(*FORMS)] = 'sft'
  questions: settings.PositiveInt = 2
  confidence: settings.Fraction = 1.0
  unsure_share: settings.Fraction = 1.0
  beta: settings.PositiveFloat = 0.5
  wrong: typing.Annotated[str, settings.one_of(*WRONG)] = 'likeliest'
  sft_weight: settings.NonNegativeFloat = 0.0

  def __post_init__(self):
    settings.check(self)
    if self.form == 'sft' and self.sft_weight:
      raise ValueError(
        'answers.sft_weight must be 0 with answers.form sft, got '
        f'{self.sft_weight}: use answers.weight'
      )
    if self.form != 'pairs' and self.wrong != 'likeliest':
      raise ValueError(
        "answers.wrong must be 'likeliest' unless answers.form is pairs, got "
        f'{self.wrong!r} with {self.form}'
      )
    if self.wrong == 'own' and self.unsure_share != 1:
      raise ValueError(
        'answers.unsure_share must be 1 with answers.wrong own, which learns '
        f'from failures alone, got {self.unsure_share}'
      )
