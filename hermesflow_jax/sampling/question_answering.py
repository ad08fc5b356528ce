"""How questions with choices are answered."""

import dataclasses

from hermesflow_jax.sampling import choice_rules
from hermesflow_jax.sequences import text_tokenizer


@dataclasses.dataclass(frozen=True)
class AnswerConfig:
  """How multiple-choice questions are answered.

  Attributes:
    free: the model replies in its own words and the nearest choice counts, as
      in the official code; otherwise its likeliest choice.
    free_prompt: what a free reply is asked with; {question} and {choices}
      stand for the question and the list of its choices.
    rule: how likely a choice is, a name of `choice_rules.RULES`.
  """

  free: bool = False
  free_prompt: str = text_tokenizer.FREE_PROMPT
  rule: str = 'constrained'

  def __post_init__(self):
    if self.rule not in choice_rules.RULES:
      raise ValueError(
        f'choice_rule must be one of {", ".join(choice_rules.RULES)}, got '
        f'{self.rule!r}'
      )
    try:
      self.asked({'question': 'q', 'choices': ['a', 'b']})
    except (KeyError, IndexError, ValueError, AttributeError) as error:
      raise ValueError(
        'free_prompt must have no fields but {question} and {choices}, got '
        f'{self.free_prompt!r}'
      ) from error

  def asked(self, question: dict) -> str:
    """Returns the text that the model is asked a TIFA record with."""
    if not self.free:
      return question['question']
    return self.free_prompt.format(
      question=question['question'], choices=list(question['choices'])
    )
