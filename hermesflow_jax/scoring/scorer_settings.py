"""Settings of jobs that score captions, images and answers."""

from __future__ import annotations

import dataclasses
import typing

from hermesflow_jax.judging import reward_service
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.scoring import encoder_settings
from hermesflow_jax.scoring import image_scorers

with lazy_modules.on_first_use():
  from hermesflow_jax.scoring import caption_scorers
  from hermesflow_jax.scoring import choice_matchers


@dataclasses.dataclass(frozen=True)
class ScorerSettings:
  """Scorers of captions and images, and matcher of free answers.

  Subclasses have `rules`, a `pair_selection.PairRules`, and `free_answers`.

  Attributes:
    caption_scorer: compares captions with true captions; see
      `caption_scorers`.
    image_scorer: scores images that were drawn for a caption; see
      `image_scorers`.
    answer_matcher: maps free answers to choices; see `choice_matchers`.
    encoders: encoders of the scorers and the matcher.
    http_reward: service of the scorers `http_reward`.
  """

  caption_scorer: str = dataclasses.field(default='ngram', kw_only=True)
  image_scorer: str = dataclasses.field(
    default=image_scorers.ANSWERS, kw_only=True
  )
  answer_matcher: str = dataclasses.field(default='ngram', kw_only=True)
  encoders: encoder_settings.EncoderSettings = dataclasses.field(
    default=encoder_settings.EncoderSettings(), kw_only=True
  )
  http_reward: reward_service.RewardSettings = dataclasses.field(
    default=reward_service.RewardSettings(), kw_only=True
  )

  def check_scorers(self) -> None:
    """Raises ValueError for names and thresholds that do not fit."""
    caption_scorers.check_name(self.caption_scorer)
    choice_matchers.check_name(self.answer_matcher)
    image_scorers.check_name(self.image_scorer)
    image_scorers.check_rules(self.image_scorer, self.rules.least_score)
    for setting in ('caption_scorer', 'image_scorer'):
      if getattr(self, setting) == reward_service.NAME:
        self.http_reward.check_given(setting)
    if self.image_scorer == 'soft' and self.free_answers:
      raise ValueError(
        'free_answers must be False with image_scorer=soft, which reads '
        'probabilities of choices, got True'
      )

  @property
  def needs_service(self) -> bool:
    """Whether a scorer asks the reward service."""
    return reward_service.NAME in (self.caption_scorer, self.image_scorer)

  @property
  def pair_rules(self) -> typing.Any:
    """The rules of pairs, with a threshold in the scale of the scorer."""
    default = image_scorers.default_least_score(self.image_scorer)
    if default is None or self.rules.least_score is not None:
      return self.rules
    return dataclasses.replace(self.rules, least_score=default)
