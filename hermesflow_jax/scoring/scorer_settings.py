"""Settings of jobs that score captions and answers."""

import dataclasses

from hermesflow_jax.scoring import caption_scorers
from hermesflow_jax.scoring import choice_matchers
from hermesflow_jax.scoring import encoder_settings


@dataclasses.dataclass(frozen=True)
class ScorerSettings:
  """Scorer of captions, and matcher of free answers.

  Attributes:
    caption_scorer: compares captions with true captions; see
      `caption_scorers`.
    answer_matcher: maps free answers to choices; see `choice_matchers`.
    encoders: text encoders of the scorer and the matcher.
  """

  caption_scorer: str = dataclasses.field(default='ngram', kw_only=True)
  answer_matcher: str = dataclasses.field(default='ngram', kw_only=True)
  encoders: encoder_settings.EncoderSettings = dataclasses.field(
    default=encoder_settings.EncoderSettings(), kw_only=True
  )

  def check_scorers(self) -> None:
    """Raises ValueError for names that no scorer or matcher has."""
    caption_scorers.check_name(self.caption_scorer)
    choice_matchers.check_name(self.answer_matcher)
